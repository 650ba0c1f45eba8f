using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Oci;

namespace Kiln.Node.Engines;

/// <summary>
/// What builds images. An engine says what it can do, reports steps as data, hands over layers, and cleans up. It never
/// sees a credential: bases and contexts were fetched before it starts.
/// </summary>
public interface IEngine
{
    /// <summary>Name and version, for example <c>buildah 1.28.2</c>.</summary>
    string Name { get; }

    EngineAbilities Abilities { get; }

    /// <summary>
    /// The images that the recipe needs from outside, to be fetched before <see cref="BuildAsync"/>.
    /// </summary>
    /// <exception cref="FormatException">The recipe is at fault; the message says where.</exception>
    IReadOnlyList<BaseReference> BasesOf(LeaseTask task, string recipe);

    /// <summary>Runs the recipe. A recipe that fails is a result, not an exception.</summary>
    Task<EngineResult> BuildAsync(EngineTask task, IBuildListener listener, CancellationToken cancel);

    /// <summary>
    /// Told after the product was published: what became of its new layers, by the engine's diff ID. Only then may steps of this build
    /// be used by later ones.
    /// </summary>
    Task KeepStepsAsync(EngineTask task, IReadOnlyDictionary<string, PublishedLayer> layers, CancellationToken cancel);

    /// <summary>Removes all that the build left, whether it succeeded or not.</summary>
    Task CleanUpAsync(string directory, CancellationToken cancel);
}

/// <summary>What an engine can do here.</summary>
public sealed record EngineAbilities
{
    public required IReadOnlyList<string> RecipeTypes { get; init; }
    public required IReadOnlyList<Platform> Platforms { get; init; }

    /// <summary>Others, whose programs are run by emulation.</summary>
    public IReadOnlyList<Platform> EmulatedPlatforms { get; init; } = [];
    public required IReadOnlyList<string> Networks { get; init; }

    /// <summary>Whether steps of earlier builds of a repository can be used again.</summary>
    public required bool StepCache { get; init; }
}

/// <summary>Hears what a build does, as it does it.</summary>
public interface IBuildListener
{
    void Phase(string phase);
    void Step(BuildStep step);
    void Log(ReadOnlySpan<byte> text);
    void Confined(BuildConfinement confinement);
}
