using System.Globalization;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Recipes;
using Kiln.Node.Deriving;
using Kiln.Oci;

namespace Kiln.Node.Launchers;

/// <summary>What a job may use, and where it goes.</summary>
/// <param name="Seconds">For the build, fetching included.</param>
/// <param name="Place">By the words of <see cref="NodeType.Places"/>, with what the request may choose.</param>
/// <param name="IsEmulated">Whether machines of the type run the programs of the build's platform by emulation only.</param>
internal sealed record JobShape(
    NodeType Type,
    int Cpus,
    long MemoryBytes,
    int Gpus,
    int Seconds,
    IReadOnlyDictionary<string, string> Place,
    bool IsEmulated
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

/// <summary>
/// Finds the type of machine for a build: the first that fits, in the order in which the operator has them, where one that runs
/// its programs by itself comes before those that emulate.
/// </summary>
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

        // Also one with less time: an emulated build takes many times as long. The registry goes by the same rule (N-18), and marks
        // what was emulated.
        if (fitting.Exists(type => Runs(type, task)))
        {
            fitting.RemoveAll(type => !Runs(type, task));
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
                place,
                !Runs(chosen, task)
            ),
            null
        );
    }

    /// <summary>
    /// The type as the registry is told of it. As two types where it emulates and builds definitions as well: Apptainer does not
    /// emulate.
    /// </summary>
    /// <param name="type">As the operator has it.</param>
    /// <param name="formats">What of finished images is made where the type does not say.</param>
    public static IReadOnlyList<OfferedType> Offer(NodeType type, IReadOnlyList<string> formats)
    {
        var outputs = type.Outputs is null ? formats : [.. type.Outputs, .. Derivation.Everywhere];
        var whole = new OfferedType
        {
            Platforms = [.. PlatformsOf(type).SelectMany(PlatformLevels.Below).Distinct().Select(p => p.ToString())],
            EmulatedPlatforms = [.. type.Emulates.Select(p => p.ToString())],
            Microarchitectures = NamesOf(type),
            // What is made of an image has the image as its recipe.
            Recipes = [.. type.Recipes, RecipeTypes.Image],
            Outputs = [BuildOutput.Oci, .. outputs],
            Networks = type.Networks,
            Resources = ResourcesOf(type),
            Backend = type.Backend.Count == 0 ? null : type.Backend,
        };
        return type.Emulates.Count == 0 || !type.Recipes.Contains(RecipeTypes.Singularity, StringComparer.Ordinal)
            ? [whole]
            :
            [
                whole with
                {
                    EmulatedPlatforms = [],
                },
                whole with
                {
                    Recipes = [.. whole.Recipes.Where(r => r != RecipeTypes.Singularity)],
                },
            ];
    }

    public static BuildResources ResourcesOf(NodeType type) =>
        new()
        {
            Cpus = type.Cpus,
            MemoryBytes = type.MemoryBytes,
            DiskBytes = type.DiskBytes,
            Gpus = type.Gpus == 0 ? null : type.Gpus,
        };

    private static int Longest(NodeType type) => (int)(type.Time - JobShape.Around).TotalSeconds;

    // With the levels of its micro-architectures.
    private static IReadOnlyList<Platform> PlatformsOf(NodeType type) =>
        [.. type.Platforms, .. PlatformLevels.Implied(type.Platforms, type.Microarchitectures)];

    private static IReadOnlyList<string> NamesOf(NodeType type) =>
        [
            .. type
                .Microarchitectures.SelectMany(Microarchitectures.RunsOn)
                .Where(name => !Microarchitectures.IsLevel(name))
                .Distinct(StringComparer.Ordinal),
        ];

    // Whether its machines need no emulation for a build. Nothing of a finished image is run.
    private static bool Runs(NodeType type, LeaseTask task) =>
        task.RecipeType == RecipeTypes.Image || PlatformsOf(type).Any(p => PlatformLevels.Builds(p, task.Platform));

    // Why a build does not fit a type; null where it does.
    private static string? Against(NodeType type, LeaseTask task) =>
        (task.RecipeType == RecipeTypes.Image ? AgainstFormat(type, task) : AgainstRecipe(type, task))
        ?? (
            task.Resources?.Over(ResourcesOf(type)) is { } over
                ? string.Create(
                    CultureInfo.InvariantCulture,
                    $"has {over.There} of resources.{over.Name}, not {over.Asked}"
                )
                : Unheard(type, task.Backend)
        );

    // What is made of a finished image needs no network either.
    private static string? AgainstFormat(NodeType type, LeaseTask task) =>
        type.Outputs is { } outputs
        && task.Format is OutputFormats.Sif or OutputFormats.Squashfs
        && !outputs.Contains(task.Format, StringComparer.Ordinal)
            ? $"makes no {task.Format} of images"
            : null;

    private static string? AgainstRecipe(NodeType type, LeaseTask task) =>
        !type.Recipes.Contains(task.RecipeType, StringComparer.Ordinal)
            ? $"builds recipes of type {string.Join(", ", type.Recipes)}, not {task.RecipeType}"
        : !Runs(type, task) && AgainstEmulation(type, task) is { } why ? why
        : BuildTargets.Finer(task.Platform, task.Microarchitecture) is { } finer
        && !NamesOf(type).Contains(finer, StringComparer.Ordinal)
            ? $"does not build for {finer}"
        : !type.Networks.Contains(task.Network, StringComparer.Ordinal)
            ? $"has the networks {string.Join(", ", type.Networks)}, not {task.Network}"
        : null;

    private static string? AgainstEmulation(NodeType type, LeaseTask task) =>
        !type.Emulates.Contains(task.Platform)
            ? $"builds for {string.Join(", ", PlatformsOf(type).Concat(type.Emulates))}, not {task.Platform}"
        : task.Emulation == EmulationModes.Denied
            ? $"builds for {task.Platform} by emulation only, which the request does not allow"
        : task.RecipeType == RecipeTypes.Singularity
            ? $"builds for {task.Platform} by emulation only, which Apptainer does not do"
        : null;

    private static string? Unheard(NodeType type, IReadOnlyDictionary<string, string>? asked) =>
        new OfferedType { Backend = type.Backend }.Unheard(asked) is not { } unheard
            ? null
            : Unheard(type, unheard.Name, unheard.Value);

    private static string Unheard(NodeType type, string name, string value) =>
        type.Backend.TryGetValue(name, out var values)
            ? $"backend.{name} may be {string.Join(", ", values)}, not '{value}'"
            : $"backend.{name} may not be chosen";
}
