using System.Globalization;
using Kiln.Oci;

namespace Kiln.BuildSpec.Architectures;

/// <summary>
/// Which platforms a machine builds for: what is made for a lower level of its family runs there too (build-extension, N-17).
/// </summary>
public static class PlatformLevels
{
    /// <summary>The highest level of the x86-64 psABI that there is.</summary>
    public const int Highest = 4;

    /// <summary>All for which a machine of a platform builds: <c>linux/amd64/v3</c> stands for v2 and <c>linux/amd64</c> too.</summary>
    public static IReadOnlyList<Platform> Below(Platform platform) =>
        LevelOf(platform) is { } level
            ?
            [
                platform with
                {
                    Variant = null,
                },
                .. Enumerable.Range(2, level - 1).Select(l => platform with { Variant = VariantOf(l) }),
            ]
        : platform is { Architecture: "arm64", Variant: "v8" } ? [platform with { Variant = null }]
        : [platform];

    /// <summary>Whether a machine of <paramref name="there"/> builds for <paramref name="wanted"/>.</summary>
    public static bool Builds(Platform there, Platform wanted) => Below(there).Contains(Below(wanted)[^1]);

    /// <summary>The same offer with everything that it implies: lower levels, and micro-architectures that run on those named.</summary>
    public static LeaseClaim Widen(LeaseClaim claim) =>
        claim with
        {
            Platforms = Widen([.. claim.Platforms, .. Implied(claim)]),
            Microarchitectures = claim
                .Microarchitectures?.SelectMany(Microarchitectures.RunsOn)
                .Distinct(StringComparer.Ordinal)
                .ToList(),
            Types = claim
                .Types?.Select(type => type.Platforms is null ? type : type with { Platforms = Widen(type.Platforms) })
                .ToList(),
        };

    // A zen3 machine is one of level 3, whether it says so or not.
    private static IEnumerable<string> Implied(LeaseClaim claim) =>
        (claim.Microarchitectures ?? [])
            .Select(Microarchitectures.PlatformOf)
            .OfType<Platform>()
            .Where(p => claim.Platforms.Contains((p with { Variant = null }).ToString(), StringComparer.Ordinal))
            .Select(p => p.ToString());

    private static List<string> Widen(IEnumerable<string> platforms) =>
        [
            .. platforms
                .SelectMany(text =>
                    Platform.TryParse(text, out var platform) ? Below(platform).Select(p => p.ToString()) : [text]
                )
                .Distinct(StringComparer.Ordinal),
        ];

    private static string VariantOf(int level) => "v" + level.ToString(CultureInfo.InvariantCulture);

    // Null where the platform has no levels, or one that is not known.
    private static int? LevelOf(Platform platform) =>
        platform is not { Architecture: "amd64", Variant: { } variant } ? null
        : variant is ['v', >= '1' and <= '4'] ? variant[1] - '0'
        : null;
}
