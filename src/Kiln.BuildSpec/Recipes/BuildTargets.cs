using Kiln.BuildSpec.Architectures;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>
/// Platforms and micro-architectures said in one way only, so that <c>linux/amd64/v3</c> and <c>linux/amd64</c> with
/// <c>x86_64_v3</c> are the same target and have the same key (build-extension, decision 2).
/// </summary>
public static class BuildTargets
{
    private const string PsAbiPrefix = "x86_64_v";

    /// <summary>The platform to which a micro-architecture belongs, for requests that name nothing else.</summary>
    public static Platform FamilyOf(string microarchitecture) =>
        Microarchitectures.PlatformOf(microarchitecture) is { } known ? known with { Variant = null }
        : microarchitecture.StartsWith("neoverse", StringComparison.Ordinal)
        || microarchitecture.StartsWith("arm", StringComparison.Ordinal)
            ? new Platform("linux", "arm64")
        : Platform.LinuxAmd64;

    /// <summary>
    /// The same target in its canonical form: its platform has the level that the micro-architecture implies, so that no machine
    /// below that takes the product for its own.
    /// </summary>
    public static BuildTarget Normalize(BuildTarget target)
    {
        var platform = target.Platform;
        var implied =
            target.Microarchitecture is not { Length: > 0 } micro ? null
            : micro.StartsWith(PsAbiPrefix, StringComparison.Ordinal) ? "v" + micro[PsAbiPrefix.Length..]
            : Microarchitectures.PlatformOf(micro) is { } known && known.Architecture == platform.Architecture
                ? known.Variant
            : null;
        var variant = (platform.Architecture, platform.Variant ?? implied) switch
        {
            // v1 and v8 are what these architectures mean anyway.
            ("amd64", "v1") or ("arm64", "v8") => null,
            (_, var other) => other,
        };
        var name = target.Microarchitecture switch
        {
            null or "" or PsAbiPrefix + "1" or "x86_64" or "aarch64" => platform.Architecture == "amd64"
            && variant is not null
                ? PsAbiPrefix + variant[1..]
                : null,
            var other => other,
        };
        return new BuildTarget { Platform = platform with { Variant = variant }, Microarchitecture = name };
    }

    /// <summary>What a target asks for beyond its platform: null where the platform's variant says it all.</summary>
    public static string? Finer(Platform platform, string? microarchitecture) =>
        microarchitecture is null or ""
        || (
            platform is { Architecture: "amd64", Variant: { } variant }
            && microarchitecture == PsAbiPrefix + variant[1..]
        )
            ? null
            : microarchitecture;

    /// <summary>Whether a target says of one machine what cannot be: a name that is of another family or level.</summary>
    public static bool Contradicts(BuildTarget target) =>
        target.Microarchitecture is { } micro
        && Microarchitectures.PlatformOf(micro) is { } known
        && (
            known.Architecture != target.Platform.Architecture
            || (known.Architecture == "amd64" && known.Variant != target.Platform.Variant)
        );
}
