using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Node;

/// <summary>
/// What the node that runs beside a registry can build. The node sets it once it has looked at its engines, and again
/// when that changes; the registry reads it to answer <c>info</c> and to refuse what nobody could build.
/// </summary>
public sealed class NodeStatus
{
    private readonly TaskCompletionSource _known = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile NodeAbilities _abilities = NodeAbilities.None("the build node has not started yet");

    public NodeAbilities Abilities
    {
        get => _abilities;
        set
        {
            _abilities = value;
            _known.TrySetResult();
        }
    }

    /// <summary>
    /// Ends once the node has looked: trying the machine takes some tenths of a second after the server listens, and a
    /// request in that time waits rather than being refused.
    /// </summary>
    public Task Known => _known.Task;
}

/// <summary>What a node can build, all its engines together.</summary>
public sealed record NodeAbilities
{
    /// <summary>Names with versions, for example <c>buildah 1.28.2</c>; the first builds by default.</summary>
    public required IReadOnlyList<string> Engines { get; init; }

    /// <summary>The first one is the default of a request that names none.</summary>
    public required IReadOnlyList<Platform> Platforms { get; init; }

    /// <summary>Others, whose programs are run by emulation.</summary>
    public IReadOnlyList<Platform> EmulatedPlatforms { get; init; } = [];

    /// <summary>Names of archspec for which it builds, the most special first.</summary>
    public IReadOnlyList<string> Microarchitectures { get; init; } = [];

    /// <inheritdoc cref="BuildSpec.RecipeTypes"/>
    public required IReadOnlyList<string> RecipeTypes { get; init; }

    /// <summary>Why definitions are not built; null where they are, or where nobody has looked.</summary>
    public string? NoDefinitions { get; init; }

    /// <summary>The formats that it makes, as a claim has them (<see cref="BuildSpec.Recipes.OutputFormats"/>).</summary>
    public IReadOnlyList<string> Outputs { get; init; } = [BuildOutput.Oci];

    /// <summary>Why no SIF and squashfs files are made; null where they are, or where nobody has looked.</summary>
    public string? NoFiles { get; init; }

    /// <inheritdoc cref="NetworkModes"/>
    public required IReadOnlyList<string> Networks { get; init; }

    /// <inheritdoc cref="RootMethods"/>
    public IReadOnlyList<string> Roots { get; init; } = [];

    /// <summary>What there is for one build; of several nodes the most.</summary>
    public BuildResources Resources { get; init; } = new();

    /// <summary>The kinds of machines that it starts builds on; null where it is one itself.</summary>
    public IReadOnlyList<OfferedType>? Types { get; init; }

    /// <summary>What else was found out of the machine, for people; null where it is not one machine.</summary>
    public IReadOnlyDictionary<string, string>? Labels { get; init; }

    /// <summary>How long its leases are to live after each sign of life; null for what the registry thinks right.</summary>
    public int? LeaseSeconds { get; init; }

    /// <summary>Why nothing can be built; null where something can.</summary>
    public string? Unavailable { get; init; }

    /// <summary>A node that builds nothing.</summary>
    public static NodeAbilities None(string why) =>
        new()
        {
            Engines = [],
            Platforms = [],
            RecipeTypes = [],
            Networks = [],
            Unavailable = why,
        };
}
