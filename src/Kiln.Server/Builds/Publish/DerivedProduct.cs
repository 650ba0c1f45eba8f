using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Publish;

/// <summary>What has to hold of what a node has made of a finished image (build-extension, section 18).</summary>
internal static class DerivedProduct
{
    private const int HeadBytes = 48;

    /// <summary>Whether the product is a file in a manifest, and no image.</summary>
    public static bool IsFile(LeaseTask task) => task.Format is OutputFormats.Sif or OutputFormats.Squashfs;

    /// <summary>What of the manifest is other than the format wants it, as a sentence; null where nothing is.</summary>
    public static string? Differs(LeaseTask task, ManifestInfo product)
    {
        var subject = task.Format is OutputFormats.Sif or OutputFormats.Squashfs or OutputFormats.SingleLayer
            ? task.Recipe.Digest
            : null;
        if (product.Subject?.Digest != subject)
        {
            return subject is null
                ? "the product has a subject, and is attached to nothing"
                : $"the product's subject is not the image {subject} of which it is made";
        }

        if (subject is not null && product.Layers is not [_])
        {
            return $"the product has {product.Layers.Count} layers; the format {task.Format} has one";
        }

        var (config, layer) = task.Format switch
        {
            OutputFormats.Sif => (BuildMediaTypes.SifConfig, BuildMediaTypes.SifLayer),
            OutputFormats.Squashfs => (MediaTypes.OciConfig, BuildMediaTypes.SquashfsLayer),
            _ => (null, null),
        };
        return config is null || (product.Config!.MediaType == config && product.Layers[0].MediaType == layer)
            ? null
            : $"a {task.Format} has a config of type {config} and a layer of type {layer}";
    }

    /// <summary>What the file begins with that it must not, as a sentence; null where it is what it is called.</summary>
    public static async Task<string?> ReadAsync(
        IBlobStore store,
        LeaseTask task,
        Descriptor file,
        CancellationToken cancel
    )
    {
        await using var blob = await store.OpenAsync(file.Digest, 0, cancel);
        var head = new byte[HeadBytes];
        var count = blob is null ? 0 : await blob.ReadAtLeastAsync(head, HeadBytes, throwOnEndOfStream: false, cancel);
        var begins = task.Format == OutputFormats.Sif ? head.AsSpan(32, 10) : head.AsSpan(0, 4);
        ReadOnlySpan<byte> wanted = task.Format == OutputFormats.Sif ? "SIF_MAGIC\0"u8 : "hsqs"u8;
        return count == HeadBytes && begins.SequenceEqual(wanted)
            ? null
            : $"the file {file.Digest} is no {task.Format}";
    }

    /// <summary>What is left in a flattened image that must not be, as a sentence; null where nothing is.</summary>
    /// <param name="found">What was measured; null where that could not be.</param>
    public static string? Unflat(ImageHints? found) =>
        found is null ? "the image was to be flattened, and cannot be read"
        : found.Owners.Any(id => id != 0) || found.Groups.Any(id => id != 0)
            ? "the image was to be flattened, and has files of other ids than 0"
        : found.SetIdFiles > 0 || found.CapabilityFiles > 0
            ? "the image was to be flattened, and has files with set-id bits or capabilities"
        : null;
}
