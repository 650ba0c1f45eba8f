using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Client.Inspection;
using Kiln.Client.Registry;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>A product that is whole, in its repository by digest.</summary>
/// <param name="Key">The build key.</param>
internal sealed record Product(Descriptor Manifest, ImageHints? Hints, string Key);

/// <summary>
/// Looks at what a build delivered before anybody can see it, as a registry would: a build can write into its own store
/// what it likes.
/// </summary>
/// <param name="newFile">Names of files on their way.</param>
internal sealed class ProductLook(HeldLease held, LayerShelf layers, Func<string> newFile)
{
    private const int MaxConfigBytes = 4 << 20;

    /// <returns>The product, or in the second place why it is refused.</returns>
    public async Task<(Product? Product, string? Fault)> LookAsync(
        LeaseTask task,
        LeaseResult result,
        CancellationToken cancel
    )
    {
        if (result.Manifest is not { } named || !held.Manifests.TryGetValue(named.Digest, out var bytes))
        {
            return (null, "the result names no manifest that was pushed");
        }

        var info = ManifestReader.Read(bytes, named.MediaType, out var fault);
        if (info?.Config is not { Size: <= MaxConfigBytes } described)
        {
            return (null, fault ?? "the product has no config of a usual size");
        }

        using var config = await ConfigAsync(described, cancel);
        if (config is null)
        {
            return (null, "the product's config is not JSON");
        }

        var root = config.RootElement;
        if (Text(root, "os") != task.Platform.Os || Text(root, "architecture") != task.Platform.Architecture)
        {
            return (null, $"the product is for {Text(root, "os")}/{Text(root, "architecture")}, not {task.Platform}");
        }

        var readings = new List<(LayerFacts? Facts, Digest? DiffId)>();
        foreach (var layer in info.Layers)
        {
            readings.Add(await ReadAsync(layer, cancel));
        }

        var diffIds = DiffIds(root);
        if (!diffIds.SequenceEqual(readings.Select(r => r.DiffId?.ToString()), StringComparer.Ordinal))
        {
            return (null, "the product's layers do not unpack to what its config says");
        }

        var user = Member(root, "config") is { } run ? Text(run, "User") : null;
        var hints = readings.TrueForAll(r => r.Facts is not null)
            ? new MeasuredImage
            {
                Subject = named,
                Platform = task.Platform,
                User = user,
                SingleId = MeasuredImage.IsSingleId(result.Confinement),
                Layers = [.. info.Layers.Zip(readings, (blob, reading) => (blob, reading.Facts!))],
            }
                .Judge()
                .Hints
            : null;
        var trees = task.Contexts.Select(c => held.Trees[(c.Blob.Digest, c.Strip)]).ToList();
        var key = TaskKey.Of(task, trees, held.Microarchitecture, result.Confinement?.Engine ?? "");
        return (new Product(named, hints, key.Compute()), null);
    }

    // "DiffIDs … in order from first to last" (image-spec, config.md).
    private static IEnumerable<string?> DiffIds(JsonElement root) =>
        Member(root, "rootfs") is { } rootfs && Member(rootfs, "diff_ids") is { ValueKind: JsonValueKind.Array } diffIds
            ? [.. diffIds.EnumerateArray().Select(d => d.ValueKind == JsonValueKind.String ? d.GetString() : "")]
            : [];

    private Task<JsonDocument?> ConfigAsync(Descriptor config, CancellationToken cancel) =>
        held.Place.PatientlyAsync(
            async () =>
            {
                await using var blob = await held.Place.Client.OpenWholeBlobAsync(held.Repository, config, cancel);
                try
                {
                    return await JsonDocument.ParseAsync(blob, cancellationToken: cancel);
                }
                catch (JsonException)
                {
                    return (JsonDocument?)null;
                }
            },
            cancel
        );

    // Layers of bases and of earlier builds were not pushed again: they are on this node, or come back from the registry.
    private async Task<(LayerFacts? Facts, Digest? DiffId)> ReadAsync(Descriptor layer, CancellationToken cancel)
    {
        if (held.Layers.TryGetValue(layer.Digest, out var pushed))
        {
            return pushed;
        }

        if (await layers.FindAsync(layer.Digest, cancel) is { } known)
        {
            return known;
        }

        var path = newFile();
        try
        {
            return await held.Place.PatientlyAsync(
                async () =>
                {
                    await held.Place.Client.DownloadBlobAsync(held.Repository, layer, path, cancel);
                    return await layers.ReadAsync(layer.Digest, path, cancel);
                },
                cancel
            );
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static string? Text(JsonElement element, string name) =>
        Member(element, name) is { ValueKind: JsonValueKind.String } value && value.GetString() is { Length: > 0 } text
            ? text
            : null;

    private static JsonElement? Member(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) ? value : null;
}
