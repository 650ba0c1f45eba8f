using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.BuildSpec.Recipes;
using Kiln.Client.Inspection;
using Kiln.Inspect;
using Kiln.Oci;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Publish;

/// <summary>A product that was found whole and fitting.</summary>
/// <param name="Manifest">As it stands in the lease's staging area.</param>
/// <param name="Hints">What was measured of it, and the document with the evidence; null where a layer could not be read (P-6).</param>
internal sealed record Product(
    Descriptor Manifest,
    byte[] Content,
    ManifestInfo Info,
    (ImageHints InJob, HintsDocument Document)? Hints
);

/// <summary>
/// Checks what a node says it has built before anybody can see it: everything that the manifest names is there, the
/// layers are those that the config tells of, and the image is for the platform that was asked for.
/// </summary>
internal sealed class ProductCheck(
    LeaseStaging staging,
    Manifests manifests,
    IBlobStore store,
    LayerFactsStore layers,
    Database database
)
{
    // Bytes of memory that facts may take while their turn is waited for.
    private const long MaxKept = 64L << 20;

    /// <returns>The product, or in the second place why the result is refused.</returns>
    public async Task<(Product? Product, string? Fault)> CheckAsync(
        ExecutionRow execution,
        LeaseResult result,
        CancellationToken cancel
    )
    {
        if (result.Manifest is not { } named)
        {
            return (null, "the result names no manifest");
        }

        var task = JsonSerializer.Deserialize(execution.Task, BuildJson.Default.LeaseTask)!;
        if (Unpinned(task, result) is { } unpinned)
        {
            return (
                null,
                $"the request pinned the base {unpinned.Uri} to {unpinned.Digest}, and it was built on another"
            );
        }

        if ((staging.Manifest(execution.Lease!, named.Digest) ?? Visible(execution, named.Digest)) is not { } staged)
        {
            return (
                null,
                $"the manifest {named.Digest} was neither pushed under this lease nor is it in the repository"
            );
        }

        var info = ManifestReader.Read(staged.Content, staged.MediaType, out var fault);
        if (info?.Config is null)
        {
            return (null, fault ?? "the product is not an image manifest");
        }

        if (DerivedProduct.Differs(task, info) is { } other)
        {
            return (null, other);
        }

        var missing = info
            .Layers.Prepend(info.Config)
            .FirstOrDefault(blob => !staging.HasBlob(execution.Lease!, execution.Repository, blob.Digest));
        if (missing is not null)
        {
            return (
                null,
                $"the product names the blob {missing.Digest}, which is neither pushed nor in the repository"
            );
        }

        var manifest = new Descriptor
        {
            MediaType = info.MediaType,
            Digest = named.Digest,
            Size = staged.Content.Length,
        };
        var product = new Product(manifest, staged.Content, info, null);
        if (DerivedProduct.IsFile(task))
        {
            var broken = await DerivedProduct.ReadAsync(store, task, info.Layers[0], cancel);
            return broken is null ? (product, null) : (null, broken);
        }

        return await CheckImageAsync(execution, product, result, cancel);
    }

    private async Task<(Product? Product, string? Fault)> CheckImageAsync(
        ExecutionRow execution,
        Product product,
        LeaseResult result,
        CancellationToken cancel
    )
    {
        var info = product.Info;
        var (config, mismatch) = await FittingConfigAsync(execution, info.Config!, cancel);
        if (config is null)
        {
            return (null, mismatch);
        }

        var (diffIds, facts) = await ReadAsync(info, cancel);
        if (Differs(config, info.Layers, diffIds) is { } difference)
        {
            return (null, difference);
        }

        var hints = facts is null
            ? null
            : await MeasureAsync(product.Manifest, execution, info, facts, config, result, cancel);
        return execution.Format == OutputFormats.SingleId && DerivedProduct.Unflat(hints?.InJob) is { } unflat
            ? (null, unflat)
            : (product with { Hints = hints }, null);
    }

    // The facts are null where a layer cannot be measured; not all of them are kept where they are large.
    private async Task<(IReadOnlyDictionary<Digest, Digest?> DiffIds, Dictionary<Digest, LayerFacts>? Facts)> ReadAsync(
        ManifestInfo image,
        CancellationToken cancel
    )
    {
        var diffIds = new Dictionary<Digest, Digest?>();
        var facts = new Dictionary<Digest, LayerFacts>();
        var (weight, measurable) = (0L, true);
        foreach (var layer in image.Layers.Select(l => l.Digest).Distinct())
        {
            var reading = await layers.GetAsync(layer, cancel);
            diffIds[layer] = reading.DiffId;
            measurable &= reading.Facts is not null;
            if (reading.Facts is { } read && (weight += read.Weight) <= MaxKept)
            {
                facts[layer] = read;
            }
        }

        return (diffIds, measurable ? facts : null);
    }

    private Task<(ImageHints InJob, HintsDocument Document)?> MeasureAsync(
        Descriptor manifest,
        ExecutionRow execution,
        ManifestInfo info,
        Dictionary<Digest, LayerFacts> facts,
        ImageConfig config,
        LeaseResult result,
        CancellationToken cancel
    ) =>
        layers.MeasureAsync(
            info.Layers,
            read => new MeasuredImage
            {
                Subject = manifest,
                Platform = Platform.Parse(execution.Platform),
                User = config.User,
                SingleId = execution.Format == OutputFormats.SingleId || MeasuredImage.IsSingleId(result.Confinement),
                Layers = read,
            },
            facts,
            cancel
        );

    // What a node does not know of it cannot keep.
    private static ResolvedDependency? Unpinned(LeaseTask task, LeaseResult result) =>
        task.PinnedBases?.FirstOrDefault(pin =>
            result.ResolvedDependencies?.Any(d => d.Uri == pin.Uri && d.Digest != pin.Digest) is true
        );

    // Clients look first whether a manifest is there, and push none that is: a build may give what is known already.
    private (string MediaType, byte[] Content)? Visible(ExecutionRow execution, Digest digest) =>
        manifests.Get(database.Read(c => Repositories.NameOf(c, execution.Repository)), digest) is { } stored
            ? (stored.MediaType, stored.Content.ToArray())
            : null;

    // "DiffIDs … in order from first to last" (image-spec, config.md). A build can write into its own store what it
    // likes; clients that trust the config's words would share the wrong layers.
    private static string? Differs(
        ImageConfig config,
        IReadOnlyList<Descriptor> layers,
        IReadOnlyDictionary<Digest, Digest?> diffIds
    )
    {
        if (config.DiffIds.Count != layers.Count)
        {
            return $"the product has {layers.Count} layers, but its config tells of {config.DiffIds.Count}";
        }

        for (var i = 0; i < layers.Count; i++)
        {
            var diffId = diffIds[layers[i].Digest]?.ToString();
            if (diffId != config.DiffIds[i])
            {
                return $"the layer {layers[i].Digest} unpacks to {diffId ?? "nothing that can be read"}, "
                    + $"but the product's config says {config.DiffIds[i]}";
            }
        }

        return null;
    }

    private async Task<(ImageConfig? Config, string? Fault)> FittingConfigAsync(
        ExecutionRow execution,
        Descriptor config,
        CancellationToken cancel
    )
    {
        var (read, fault) = await store.ReadConfigAsync(config, cancel);
        if (read is null)
        {
            return (null, fault);
        }

        var (asked, has) = (Platform.Parse(execution.Platform), read.Platform);
        return
            has.Os == asked.Os
            && has.Architecture == asked.Architecture
            && (asked.Variant is null || has.Variant is null || has.Variant == asked.Variant)
            ? (read, null)
            : (null, $"the product is for {has.Os}/{has.Architecture}, not {asked}");
    }
}

/// <summary>Configs of images in the blob store.</summary>
internal static class StoredConfigs
{
    /// <returns>The config, or in the second place why it cannot be read, as a sentence.</returns>
    public static async Task<(ImageConfig? Config, string? Fault)> ReadConfigAsync(
        this IBlobStore store,
        Descriptor config,
        CancellationToken cancel
    )
    {
        // The manifest's word on its size is its writer's.
        var size = await store.SizeAsync(config.Digest, cancel);
        await using var blob = size <= ImageConfig.MaxBytes ? await store.OpenAsync(config.Digest, 0, cancel) : null;
        if (blob is null)
        {
            return (null, $"the image config {config.Digest} is missing or larger than {ImageConfig.MaxBytes} bytes");
        }

        try
        {
            using var bytes = new MemoryStream();
            await blob.CopyToAsync(bytes, cancel);
            return (ImageConfig.Read(bytes.ToArray()), null);
        }
        catch (JsonException e)
        {
            return (null, $"the image config is not valid JSON: {e.Message}");
        }
    }
}
