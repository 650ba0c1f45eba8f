using Kiln.BuildSpec.Definitions;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>What whoever accepts a request has to build it with: what its nodes can, and how long they may take.</summary>
public sealed record BuildOffer
{
    /// <summary>The first one is the default of a request that names none.</summary>
    public required IReadOnlyList<Platform> Platforms { get; init; }

    /// <summary>Those that somebody builds by emulation; none where that is not allowed.</summary>
    public IReadOnlyList<Platform> EmulatedPlatforms { get; init; } = [];

    /// <summary>False where whoever accepts the request wants no emulation.</summary>
    public bool AllowsEmulation { get; init; } = true;

    /// <summary>Names of archspec for which somebody builds, those that run on them included.</summary>
    public IReadOnlyList<string> Microarchitectures { get; init; } = [];

    /// <summary>Each node by itself, so that a refusal can name the nearest.</summary>
    public IReadOnlyList<OfferedNode> Nodes { get; init; } = [];

    /// <inheritdoc cref="BuildSpec.RecipeTypes"/>
    public required IReadOnlyList<string> RecipeTypes { get; init; }

    /// <summary>The formats that somebody here makes, as claims have them.</summary>
    public IReadOnlyList<string> Outputs { get; init; } = [OutputFormats.Oci];

    /// <summary>What definitions may start from: <see cref="BootstrapAgents"/>.</summary>
    public IReadOnlyList<string> Bootstraps { get; init; } = BootstrapAgents.All;

    /// <inheritdoc cref="NetworkModes"/>
    public required IReadOnlyList<string> Networks { get; init; }

    /// <summary>Names with versions; the first builds by default.</summary>
    public required IReadOnlyList<string> Engines { get; init; }

    /// <summary>The most that there is for one build.</summary>
    public BuildResources Resources { get; init; } = new();
    public required int DefaultTimeoutSeconds { get; init; }
    public required int MaxTimeoutSeconds { get; init; }
    public required int MaxQueueSeconds { get; init; }

    /// <summary>Platforms of nodes that build for everybody, and not for their owners only.</summary>
    public IReadOnlyList<Platform> SharedPlatforms { get; init; } = [];

    /// <summary>As <see cref="Outputs"/>, of those that build for everybody.</summary>
    public IReadOnlyList<string> SharedOutputs { get; init; } = [];
}

/// <summary>What one node builds for.</summary>
/// <param name="Name">What it calls itself.</param>
/// <param name="Platforms">All of its platforms, lower levels included.</param>
/// <param name="Microarchitectures">As in <see cref="BuildOffer.Microarchitectures"/>.</param>
public sealed record OfferedNode(
    string Name,
    IReadOnlyList<Platform> Platforms,
    IReadOnlyList<string> Microarchitectures
)
{
    /// <summary>All that it offers, lower levels included; null where no more is known than the above.</summary>
    public LeaseClaim? Claim { get; init; }
}
