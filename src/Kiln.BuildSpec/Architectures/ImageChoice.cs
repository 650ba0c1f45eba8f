using System.Globalization;
using Kiln.Oci;

namespace Kiln.BuildSpec.Architectures;

/// <summary>How an image of an index suits a machine.</summary>
public enum ImageFit
{
    /// <summary>It is for the machine, or for one of which this is more.</summary>
    Runs,

    /// <summary>It is for the machine's platform, but declares that it needs more, or something that nobody here knows.</summary>
    MayRun,

    /// <summary>It is for another machine.</summary>
    DoesNotRun,
}

/// <summary>One image of an index, held against a machine.</summary>
/// <param name="Why">What it is for, or what the machine is not.</param>
public sealed record ImageOption(Descriptor Entry, ImageFit Fit, string Why);

/// <summary>
/// Which image of an index is the best for a machine, or to build on for one (docs/guide/architectures.md, "Which image is
/// taken"). Of those that run there: the one of the highest level, then for the most special micro-architecture, then one
/// that was not built by emulation, then the first.
/// </summary>
public static class ImageChoice
{
    /// <summary>
    /// The image to take where declared needs are claims only: the best that runs, else the best that may. Asked for a platform
    /// without a variant, the generic image is meant. Attestations (<c>unknown/unknown</c>) are never chosen.
    /// </summary>
    /// <param name="microarchitecture">By archspec's name; null where the platform says all.</param>
    public static Descriptor? Of(
        IReadOnlyList<Descriptor> manifests,
        Platform platform,
        string? microarchitecture = null
    ) => Rank(manifests, platform, microarchitecture).FirstOrDefault(o => o.Fit != ImageFit.DoesNotRun)?.Entry;

    /// <summary>All images for the platform's family, the best first.</summary>
    /// <inheritdoc cref="Of"/>
    public static IReadOnlyList<ImageOption> Rank(
        IReadOnlyList<Descriptor> manifests,
        Platform platform,
        string? microarchitecture
    )
    {
        var machine = new Wanted(
            Normal(platform),
            microarchitecture is null ? [] : Microarchitectures.RunsOn(microarchitecture)
        );
        return
        [
            .. manifests
                .Where(m => MediaTypes.IsImageManifest(m.MediaType) || MediaTypes.IsIndex(m.MediaType))
                .Where(m =>
                    m.Platform is { } p
                    && p.Os == machine.Platform.Os
                    && p.Architecture == machine.Platform.Architecture
                )
                .Select(m => (Option: Judge(m, machine), For: new Offered(m)))
                .OrderBy(o => o.Option.Fit)
                // Of what may not run the least demanding is the best.
                .ThenBy(o => o.Option.Fit == ImageFit.Runs ? 0 : o.For.Declared)
                .ThenByDescending(o => Math.Max(o.For.Level, o.For.Declared))
                .ThenByDescending(o => o.For.Depth)
                .ThenByDescending(o => o.For.Platform.Variant == machine.Platform.Variant)
                .ThenByDescending(o => o.For.Level)
                .ThenBy(o => o.For.Emulated)
                .Select(o => o.Option),
        ];
    }

    private static ImageOption Judge(Descriptor entry, Wanted machine)
    {
        var image = new Offered(entry);
        var (fit, why) =
            !RunsPlatform(image.Platform, machine.Platform)
                ? (ImageFit.DoesNotRun, $"it is for {image.Platform}, which {machine.Platform} is not")
            : image.Special is { } special && !machine.Names.Contains(special, StringComparer.Ordinal)
                ? (
                    Microarchitectures.Find(special) is null ? ImageFit.MayRun : ImageFit.DoesNotRun,
                    $"it is for {special}, which this is not"
                )
            : image.Declared > machine.Level
                ? (
                    ImageFit.MayRun,
                    $"its programs declare that they need {image.Target}, and this is {machine.Platform}"
                )
            : (ImageFit.Runs, $"it is for {image.Platform}{(image.Target is null ? "" : $" ({image.Target})")}");
        return new ImageOption(entry, fit, why);
    }

    private static bool RunsPlatform(Platform image, Platform machine) =>
        machine.Architecture == "amd64"
            ? PlatformLevels.Builds(machine, image)
            : image.Variant is null || image.Variant == machine.Variant;

    // containerd/platforms, "Normalization": arm64 means v8, amd64 means v1, arm means v7.
    private static Platform Normal(Platform platform) =>
        platform switch
        {
            { Architecture: "arm64", Variant: "v8" or "8" } => platform with { Variant = null },
            { Architecture: "amd64", Variant: "v1" } => platform with { Variant = null },
            { Architecture: "arm", Variant: null } => platform with { Variant = "v7" },
            _ => platform,
        };

    private sealed record Wanted(Platform Platform, IReadOnlyList<string> Names)
    {
        public int Level { get; } = PlatformLevels.Below(Platform).Count;
    }

    private sealed class Offered(Descriptor entry)
    {
        public Platform Platform { get; } = Normal(entry.Platform!);

        /// <summary>For what it was built, or what its files declare (P-4).</summary>
        public string? Target { get; } = entry.Annotations?.GetValueOrDefault(HintAnnotations.CpuTarget);

        public bool Emulated { get; } = entry.Annotations?.ContainsKey(HintAnnotations.Emulated) is true;

        /// <summary>The name, where it is more than a level of the platform's family, or a word for the family itself.</summary>
        public string? Special =>
            Target is null || Microarchitectures.IsLevel(Target) || Target == Platform.Architecture ? null : Target;

        /// <summary>How many others run on it.</summary>
        public int Depth => Special is null ? 0 : Microarchitectures.RunsOn(Special).Count;

        public int Level => PlatformLevels.Below(Platform).Count;

        /// <summary>The level that it declares; 0 where it declares none.</summary>
        public int Declared =>
            Target?.StartsWith("x86_64_v", StringComparison.Ordinal) is true
            && int.TryParse(Target["x86_64_v".Length..], NumberStyles.None, CultureInfo.InvariantCulture, out var level)
                ? level
                : 0;
    }
}
