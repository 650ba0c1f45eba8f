using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>What whoever accepts a request has to build it with: what its nodes can, and how long they may take.</summary>
public sealed record BuildOffer
{
    /// <summary>The first one is the default of a request that names none.</summary>
    public required IReadOnlyList<Platform> Platforms { get; init; }

    /// <inheritdoc cref="BuildSpec.RecipeTypes"/>
    public required IReadOnlyList<string> RecipeTypes { get; init; }

    /// <inheritdoc cref="NetworkModes"/>
    public required IReadOnlyList<string> Networks { get; init; }

    /// <summary>Names with versions; the first builds by default.</summary>
    public required IReadOnlyList<string> Engines { get; init; }

    /// <summary>The most that there is for one build.</summary>
    public BuildResources Resources { get; init; } = new();
    public required int DefaultTimeoutSeconds { get; init; }
    public required int MaxTimeoutSeconds { get; init; }
    public required int MaxQueueSeconds { get; init; }
}
