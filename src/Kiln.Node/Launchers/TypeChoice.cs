using System.Globalization;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;

namespace Kiln.Node.Launchers;

/// <summary>What a job may use, and where it goes.</summary>
/// <param name="Seconds">For the build, fetching included.</param>
/// <param name="Place">By the words of <see cref="NodeType.Places"/>, with what the request may choose.</param>
internal sealed record JobShape(
    NodeType Type,
    int Cpus,
    long MemoryBytes,
    int Gpus,
    int Seconds,
    IReadOnlyDictionary<string, string> Place
)
{
    /// <summary>What a job needs beside its build: to begin, to hand over, to clean up.</summary>
    public static readonly TimeSpan Around = TimeSpan.FromMinutes(2);

    // kiln itself, and what the kernel counts to it.
    private const long MemoryAround = 256L << 20;

    /// <summary>The whole job's time, in minutes as batch systems count.</summary>
    public int JobMinutes => (int)Math.Ceiling((TimeSpan.FromSeconds(Seconds) + Around).TotalMinutes);

    /// <summary>The whole job's memory.</summary>
    public int JobMebibytes => (int)((MemoryBytes + MemoryAround + (1 << 20) - 1) >> 20);
}

/// <summary>Finds the type of machine for a build: the first that fits, in the order in which the operator has them.</summary>
internal static class TypeChoice
{
    private const int UsualCpus = 2;
    private const long UsualMemory = 4L << 30;

    /// <summary>
    /// The shape of the build's job; or why there is none, as a sentence for whoever asked for the build. A time that none
    /// allows is cut to the longest that there is: the request may not even have named it.
    /// </summary>
    public static (JobShape? Shape, string? Refusal) Choose(IReadOnlyList<NodeType> types, LeaseTask task)
    {
        var fitting = types.Where(type => Against(type, task) is null).ToList();
        if (fitting.Count == 0)
        {
            var reasons = string.Join("; ", types.Select(type => $"{type.Name}: {Against(type, task)}"));
            return (null, $"nothing that this node may start builds on fits: {reasons}");
        }

        var chosen = fitting.Find(type => Longest(type) >= task.TimeoutSeconds) ?? fitting.MaxBy(Longest)!;
        var asked = task.Resources ?? new BuildResources();
        var place = new Dictionary<string, string>(chosen.Place, StringComparer.Ordinal);
        foreach (var (name, value) in task.Backend ?? new Dictionary<string, string>())
        {
            place[name] = value;
        }

        return (
            new JobShape(
                chosen,
                asked.Cpus ?? Math.Min(chosen.Cpus, chosen.DefaultCpus ?? UsualCpus),
                asked.MemoryBytes ?? Math.Min(chosen.MemoryBytes, chosen.DefaultMemoryBytes ?? UsualMemory),
                asked.Gpus ?? 0,
                Math.Min(task.TimeoutSeconds, Longest(chosen)),
                place
            ),
            null
        );
    }

    /// <summary>The type as the registry is told of it.</summary>
    public static OfferedType Offer(NodeType type) =>
        new()
        {
            Platforms = [.. type.Platforms.SelectMany(PlatformLevels.Below).Distinct().Select(p => p.ToString())],
            Networks = type.Networks,
            Resources = ResourcesOf(type),
            Backend = type.Backend.Count == 0 ? null : type.Backend,
        };

    public static BuildResources ResourcesOf(NodeType type) =>
        new()
        {
            Cpus = type.Cpus,
            MemoryBytes = type.MemoryBytes,
            DiskBytes = type.DiskBytes,
            Gpus = type.Gpus == 0 ? null : type.Gpus,
        };

    private static int Longest(NodeType type) => (int)(type.Time - JobShape.Around).TotalSeconds;

    // Why a build does not fit a type; null where it does.
    private static string? Against(NodeType type, LeaseTask task) =>
        // What is made of a finished image runs nothing of it, and needs no network.
        task.RecipeType != RecipeTypes.Image
        && !type.Platforms.Any(p => PlatformLevels.Builds(p, task.Platform))
            ? $"builds for {string.Join(", ", type.Platforms)}, not {task.Platform}"
        : task.RecipeType != RecipeTypes.Image && !type.Networks.Contains(task.Network, StringComparer.Ordinal)
            ? $"has the networks {string.Join(", ", type.Networks)}, not {task.Network}"
        : task.Resources?.Over(ResourcesOf(type)) is { } over
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"has {over.There} of resources.{over.Name}, not {over.Asked}"
            )
        : Offer(type).Unheard(task.Backend) is { } unheard ? Unheard(type, unheard.Name, unheard.Value)
        : null;

    private static string Unheard(NodeType type, string name, string value) =>
        type.Backend.TryGetValue(name, out var values)
            ? $"backend.{name} may be {string.Join(", ", values)}, not '{value}'"
            : $"backend.{name} may not be chosen";
}
