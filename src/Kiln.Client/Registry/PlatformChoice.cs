using Kiln.Oci;

namespace Kiln.Client.Registry;

/// <summary>Which entry of an index is the image for a platform.</summary>
public static class PlatformChoice
{
    /// <summary>
    /// Exactly the platform asked for; else the one without a variant; else, for arm64, its only variant v8. Asked
    /// without a variant, an entry without one is meant. Attestations (<c>unknown/unknown</c>) are never chosen.
    /// </summary>
    public static Descriptor? Of(IReadOnlyList<Descriptor> manifests, Platform platform)
    {
        var wanted = Normal(platform);
        var candidates = manifests
            .Where(m => MediaTypes.IsImageManifest(m.MediaType) || MediaTypes.IsIndex(m.MediaType))
            .Where(m => m.Platform is { } p && p.Os == wanted.Os && p.Architecture == wanted.Architecture)
            .ToList();
        return candidates.Find(m => Normal(m.Platform!).Variant == wanted.Variant)
            ?? candidates.Find(m => Normal(m.Platform!).Variant is null);
    }

    // containerd/platforms, "Normalization": arm64 means v8, amd64 means v1, arm means v7.
    private static Platform Normal(Platform platform) =>
        platform switch
        {
            { Architecture: "arm64", Variant: "v8" or "8" } => platform with { Variant = null },
            { Architecture: "amd64", Variant: "v1" } => platform with { Variant = null },
            { Architecture: "arm", Variant: null } => platform with { Variant = "v7" },
            _ => platform,
        };
}
