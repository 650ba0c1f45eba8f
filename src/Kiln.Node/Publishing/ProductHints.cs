using Kiln.BuildSpec;
using Kiln.Inspect;

namespace Kiln.Node.Publishing;

/// <summary>What an image is good for, from what is in its layers (build-extension, "Products and hints").</summary>
public static class ProductHints
{
    /// <param name="layers">Lowest first; null for one that could not be read.</param>
    /// <param name="user">The <c>User</c> of the image's config.</param>
    /// <param name="confinement">Of the build.</param>
    /// <returns>Null where a layer could not be read (P-6).</returns>
    public static ImageHints? Of(IReadOnlyList<LayerFacts?> layers, string? user, BuildConfinement? confinement)
    {
        if (layers.Contains(null))
        {
            return null;
        }

        // Under seccomp every change of owner is pretended: the image then has no ids of its own.
        var singleId = confinement?.Root == "seccomp";
        var verdict = FlattenVerdict.Of(FlattenedImage.Of(layers!), user, singleId);
        return new ImageHints
        {
            FlattenOwnership = verdict.Ownership,
            FlattenMode = verdict.Mode,
            Owners = verdict.Owners,
            Groups = verdict.Groups,
            SetIdFiles = verdict.SetIdFiles,
            CapabilityFiles = verdict.CapabilityFiles,
            UncompressedBytes = verdict.Bytes,
            Files = verdict.Files,
            Reasons = verdict.Reasons.Count == 0 ? null : verdict.Reasons,
        };
    }
}
