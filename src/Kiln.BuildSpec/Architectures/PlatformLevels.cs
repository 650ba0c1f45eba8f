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

    /// <summary>
    /// The same offer with everything that it implies: lower levels, and micro-architectures that run on those named. Its own
    /// lists are what its types have between them.
    /// </summary>
    public static LeaseClaim Widen(LeaseClaim claim)
    {
        var machines = claim.Machines().Select(Widen).ToList();
        return claim with
        {
            Platforms = Union(machines.Select(m => m.Platforms)),
            EmulatedPlatforms = Some(machines.Select(m => m.EmulatedPlatforms)),
            Microarchitectures = Some(machines.Select(m => m.Microarchitectures)),
            Recipes = Union(machines.Select(m => m.Recipes)),
            Outputs = Union(machines.Select(m => m.Outputs)),
            // Absent, it takes what asks for any.
            Networks = machines.Exists(m => m.Networks is null) ? null : Union(machines.Select(m => m.Networks)),
            Resources = claim.Types is null ? claim.Resources : BuildResources.Most(machines.Select(m => m.Resources)),
            Types = claim.Types is null ? null : machines,
        };
    }

    /// <summary>
    /// The platforms that machines of some micro-architectures have beyond those that are said: a zen3 machine is one of level
    /// 3, whether it says so or not.
    /// </summary>
    public static IEnumerable<Platform> Implied(
        IReadOnlyCollection<Platform> platforms,
        IEnumerable<string> microarchitectures
    ) =>
        microarchitectures
            .Select(Microarchitectures.PlatformOf)
            .OfType<Platform>()
            .Where(p => platforms.Contains(p with { Variant = null }));

    private static OfferedType Widen(OfferedType type)
    {
        var said = (type.Platforms ?? []).SelectMany(Read).ToList();
        return type with
        {
            Platforms =
            [
                .. said.Concat(Implied(said, type.Microarchitectures ?? []))
                    .SelectMany(Below)
                    .Select(p => p.ToString())
                    .Distinct(StringComparer.Ordinal),
            ],
            // The claim's own lists become those of all types: a type that has none must not take them for its own.
            EmulatedPlatforms = type.EmulatedPlatforms ?? [],
            Microarchitectures =
            [
                .. (type.Microarchitectures ?? [])
                    .SelectMany(Microarchitectures.RunsOn)
                    .Distinct(StringComparer.Ordinal),
            ],
            Resources = type.Resources ?? new BuildResources(),
        };
    }

    private static IEnumerable<Platform> Read(string text) =>
        Platform.TryParse(text, out var platform) ? [platform] : [];

    private static IReadOnlyList<string> Union(IEnumerable<IReadOnlyList<string>?> lists) =>
        [.. lists.SelectMany(list => list ?? []).Distinct(StringComparer.Ordinal)];

    private static IReadOnlyList<string>? Some(IEnumerable<IReadOnlyList<string>?> lists) =>
        Union(lists) is { Count: > 0 } some ? some : null;

    private static string VariantOf(int level) => "v" + level.ToString(CultureInfo.InvariantCulture);

    // Null where the platform has no levels, or one that is not known.
    private static int? LevelOf(Platform platform) =>
        platform is not { Architecture: "amd64", Variant: { } variant } ? null
        : variant is ['v', >= '1' and <= '4'] ? variant[1] - '0'
        : null;
}
