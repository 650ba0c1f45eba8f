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
        if (info?.Config is not { Size: <= ImageConfig.MaxBytes } described)
        {
            return (null, fault ?? "the product has no config of a usual size");
        }

        if (await ConfigAsync(described, cancel) is not { } config)
        {
            return (null, "the product's config is not JSON");
        }

        if (config.Platform.Os != task.Platform.Os || config.Platform.Architecture != task.Platform.Architecture)
        {
            return (null, $"the product is for {config.Platform}, not {task.Platform}");
        }

        var readings = new List<(LayerFacts? Facts, Digest? DiffId)>();
        foreach (var layer in info.Layers)
        {
            readings.Add(await ReadAsync(layer, cancel));
        }

        if (!config.DiffIds.SequenceEqual(readings.Select(r => r.DiffId?.ToString()), StringComparer.Ordinal))
        {
            return (null, "the product's layers do not unpack to what its config says");
        }

        var hints = readings.TrueForAll(r => r.Facts is not null)
            ? new MeasuredImage
            {
                Subject = named,
                Platform = task.Platform,
                User = config.User,
                SingleId = MeasuredImage.IsSingleId(result.Confinement),
                Layers = [.. info.Layers.Zip(readings, (blob, reading) => (blob, reading.Facts!))],
            }
                .Judge()
                .Hints
            : null;
        var trees = task.Contexts.Select(c => held.Trees[(c.Blob.Digest, c.Strip)]).ToList();
        var key = TaskKey.Of(task, trees, held.Microarchitecture, [result.Confinement?.Engine ?? ""]);
        return (new Product(named, hints, key.Compute()), null);
    }

    private Task<ImageConfig?> ConfigAsync(Descriptor config, CancellationToken cancel) =>
        held.Place.PatientlyAsync(
            async () =>
            {
                await using var blob = await held.Place.Client.OpenWholeBlobAsync(held.Repository, config, cancel);
                using var bytes = new MemoryStream();
                await blob.CopyToAsync(bytes, cancel);
                try
                {
                    return ImageConfig.Read(bytes.ToArray());
                }
                catch (JsonException)
                {
                    return (ImageConfig?)null;
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
}
