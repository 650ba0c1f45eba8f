using System.Globalization;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>
/// Whether one node has all that a request asks for: what several have between them builds nothing (build-extension, N-1).
/// </summary>
internal static class NodeFit
{
    /// <summary>The target that no node can build, with the nearest node and what it lacks; null where each can be built.</summary>
    public static string? Refusal(JobRequest full, RecipeContent recipe, BuildOffer offer)
    {
        var nodes = offer.Nodes.Where(n => n.Claim is not null).ToList();
        foreach (var target in nodes.Count == 0 ? [] : full.Targets!)
        {
            var lacks = nodes.ConvertAll(n => (Node: n, Lacks: Lacks(n.Claim!, full, recipe.Type, target)));
            if (lacks.TrueForAll(l => l.Lacks.Count > 0))
            {
                // Another network or fewer processors can be asked for; another platform is another product.
                var (node, nearest) = lacks.MinBy(l =>
                    (l.Node.Platforms.Contains(target.Platform) ? 0 : 1, l.Lacks.Count)
                );
                return $"no build node here has all that is asked for {target.Platform}: the nearest is {node.Name}, which "
                    + string.Join(", and ", nearest);
            }
        }

        return nodes.Count == 0 ? null : Unheard(full.Backend, nodes);
    }

    // A node that is one machine takes any word and does nothing with it. Where others know the word, but not with this value,
    // it is a slip of the pen, and building it as if nothing had been said would hide that.
    private static string? Unheard(IReadOnlyDictionary<string, string>? asked, IReadOnlyList<OfferedNode> nodes)
    {
        foreach (var (word, value) in asked ?? new Dictionary<string, string>())
        {
            var hearing = nodes
                .Select(n =>
                    (n.Name, Values: (n.Claim!.Types ?? []).SelectMany(t => t.Backend?.GetValueOrDefault(word) ?? []))
                )
                .Select(n => (n.Name, Values: n.Values.Distinct(StringComparer.Ordinal).ToList()))
                .Where(n => n.Values.Count > 0)
                .ToList();
            if (
                hearing.Count > 0
                && !hearing.Exists(n => n.Values.Contains(OfferedType.Any) || n.Values.Contains(value))
            )
            {
                var there = hearing.Select(n =>
                    $"{n.Name} takes {string.Join(", ", n.Values.Select(v => $"{word}={v}"))}"
                );
                return $"no build node here takes the backend's {word}={value}: {string.Join("; ", there)}";
            }
        }

        return null;
    }

    // Of a node that starts builds on machines of several types, one of the types has to have it all. The nearest is one that
    // builds for the target at all: another network can be asked for.
    private static IReadOnlyList<string> Lacks(LeaseClaim claim, JobRequest full, string recipe, BuildTarget target) =>
        claim
            .Machines()
            .Select(type => (Platforms: PlatformsOf(type, full), Lacks: Lacks(claim, type, full, recipe, target)))
            .MinBy(one =>
                (one.Platforms.Contains(target.Platform.ToString(), StringComparer.Ordinal) ? 0 : 1, one.Lacks.Count)
            )
            .Lacks;

    private static IReadOnlyList<string> PlatformsOf(OfferedType type, JobRequest full) =>
        [.. type.Platforms ?? [], .. full.Emulation == EmulationModes.Denied ? [] : type.EmulatedPlatforms ?? []];

    private static List<string> Lacks(
        LeaseClaim claim,
        OfferedType type,
        JobRequest full,
        string recipe,
        BuildTarget target
    )
    {
        var lacks = new List<string>();
        if (type.Recipes?.Contains(recipe, StringComparer.Ordinal) is not true)
        {
            lacks.Add($"builds no recipes of type '{recipe}'");
        }

        if (
            BuildTargets.Finer(target.Platform, target.Microarchitecture) is { } finer
            && type.Microarchitectures?.Contains(finer, StringComparer.Ordinal) is not true
        )
        {
            lacks.Add($"does not build for {finer}");
        }

        var platforms = PlatformsOf(type, full);
        if (!platforms.Contains(target.Platform.ToString(), StringComparer.Ordinal))
        {
            lacks.Add($"builds for {string.Join(", ", platforms)}");
        }

        var networks = type.Networks ?? [NetworkModes.Isolated, NetworkModes.None];
        if (!networks.Contains(full.Network!, StringComparer.Ordinal))
        {
            lacks.Add($"has the networks {string.Join(", ", networks)} and not {full.Network}");
        }

        if (full.Resources?.Over(type.Resources ?? new BuildResources()) is var (name, asked, there))
        {
            lacks.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"has {there} of resources.{name} where {asked} is asked for"
                )
            );
        }

        // Where it is one machine, it has no back end, and nothing is said to it.
        if (claim.Types is not null && type.Unheard(full.Backend) is var (word, value))
        {
            var heard = type.Backend?.GetValueOrDefault(word);
            lacks.Add(
                $"does not take the backend's {word}={value}"
                    + (heard is null ? "" : $", but {string.Join(", ", heard.Select(v => $"{word}={v}"))}")
            );
        }

        return lacks;
    }
}
