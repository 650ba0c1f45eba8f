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
        microarchitecture.StartsWith("neoverse", StringComparison.Ordinal)
        || microarchitecture.StartsWith("armv", StringComparison.Ordinal)
        || microarchitecture.StartsWith("a64fx", StringComparison.Ordinal)
            ? new Platform("linux", "arm64")
            : Platform.LinuxAmd64;

    /// <summary>The same target in its canonical form.</summary>
    public static BuildTarget Normalize(BuildTarget target)
    {
        var platform = target.Platform;
        var level =
            target.Microarchitecture is { } micro && micro.StartsWith(PsAbiPrefix, StringComparison.Ordinal)
                ? "v" + micro[PsAbiPrefix.Length..]
                : null;
        var variant = (platform.Architecture, platform.Variant ?? level) switch
        {
            // v1 and v8 are what these architectures mean anyway.
            ("amd64", "v1") or ("arm64", "v8") => null,
            (_, var other) => other,
        };
        var name = target.Microarchitecture switch
        {
            null or "" or PsAbiPrefix + "1" => platform.Architecture == "amd64" && variant is not null
                ? PsAbiPrefix + variant[1..]
                : null,
            var other => other,
        };
        return new BuildTarget { Platform = platform with { Variant = variant }, Microarchitecture = name };
    }
}
