using Kiln.Oci;

namespace Kiln.Server.Registry;

/// <summary>How much one manifest may make the registry do, beside its size in bytes.</summary>
internal static class ManifestLimits
{
    /// <summary>Layers, children and config of one manifest. Each is looked up and kept as a row.</summary>
    public const int MaxReferences = 10_000;

    // RFC 6838, 4.2: 127 characters on either side of the slash.
    private const int MaxArtifactType = 255;

    /// <summary>What is too much, as a sentence; null where nothing is.</summary>
    public static string? Broken(ManifestInfo manifest)
    {
        var references = manifest.Layers.Count + manifest.Manifests.Count + (manifest.Config is null ? 0 : 1);
        if (references > MaxReferences)
        {
            return $"the manifest refers to {references} blobs and manifests; {MaxReferences} is the limit. Nest indexes in an index";
        }

        // It is given out in lists and compared with queries, so it is held to what a media type is.
        return
            manifest.EffectiveArtifactType is { } type
            && (type.Length > MaxArtifactType || type.Any(c => c is < ' ' or > '~'))
            ? $"the artifact type is not a media type; use up to {MaxArtifactType} printable ASCII characters"
            : null;
    }
}
