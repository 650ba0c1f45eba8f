using Kiln.BuildSpec.Architectures;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>Whether a target can be had, and if not, who comes nearest to it and what that one lacks.</summary>
internal static class TargetRules
{
    /// <summary>Whether one node builds for the platform and the micro-architecture both.</summary>
    /// <param name="emulation">What the request says of it.</param>
    public static bool IsHad(BuildTarget target, string? emulation, BuildOffer offer) =>
        (
            offer.Platforms.Contains(target.Platform)
            || (emulation != EmulationModes.Denied && offer.EmulatedPlatforms.Contains(target.Platform))
        )
        && (
            BuildTargets.Finer(target.Platform, target.Microarchitecture) is not { } finer
            || offer.Microarchitectures.Contains(finer, StringComparer.Ordinal)
        );

    public static string Refusal(BuildTarget target, BuildOffer offer)
    {
        var what = BuildTargets.Finer(target.Platform, target.Microarchitecture) is { } finer
            ? $"the micro-architecture {finer}"
            : target.Platform.ToString();
        if (offer.EmulatedPlatforms.Contains(target.Platform) && what == target.Platform.ToString())
        {
            return $"{what} is built here by emulation only, and the request says emulation: denied; leave that out";
        }

        var denied = offer.AllowsEmulation ? "" : ", and emulation is not allowed here";
        var nearest = offer.Nodes.MaxBy(node => Nearness(node, target));
        return nearest is null
            ? $"no build node here builds for {what}{denied}"
            : $"no build node here builds for {what}; the nearest is {nearest.Name}, {Lack(nearest, target)}{denied}";
    }

    public static string Contradiction(BuildTarget target) =>
        $"the micro-architecture {target.Microarchitecture} is "
        + $"{Microarchitectures.PlatformOf(target.Microarchitecture!)}, not {target.Platform}; leave the platform's variant out, "
        + "or name another micro-architecture";

    // The same family counts first, then how many of the names below the one wanted it has.
    private static int Nearness(OfferedNode node, BuildTarget target) =>
        (node.Platforms.Any(p => IsFamily(p, target.Platform)) ? 1000 : 0)
        + (10 * PlatformLevels.Below(target.Platform).Count(node.Platforms.Contains))
        + Wanted(target).Count(n => node.Microarchitectures.Contains(n, StringComparer.Ordinal));

    private static string Lack(OfferedNode node, BuildTarget target)
    {
        var family = node.Platforms.Where(p => IsFamily(p, target.Platform)).ToList();
        if (family.Count == 0)
        {
            return $"which is {string.Join(", ", node.Platforms)}: a node of {target.Platform.Os}/{target.Platform.Architecture} "
                + "is needed";
        }

        if (!node.Platforms.Contains(target.Platform))
        {
            return $"which goes up to {family.MaxBy(p => p.Variant ?? "", StringComparer.Ordinal)}";
        }

        return node.Microarchitectures is [var finest, ..]
            ? $"which is {finest}"
            : "which does not say what it is beyond that";
    }

    private static IReadOnlyList<string> Wanted(BuildTarget target) =>
        target.Microarchitecture is { } micro ? Microarchitectures.RunsOn(micro) : [];

    private static bool IsFamily(Platform one, Platform other) =>
        one.Os == other.Os && one.Architecture == other.Architecture;
}
