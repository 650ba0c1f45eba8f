using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;

namespace Kiln.Server.Builds.Queue;

/// <summary>A request after all that can be refused was checked: what is to be built, for whom, under which tags.</summary>
internal sealed record JobPlan
{
    public required RepositoryName Repository { get; init; }

    /// <summary>Who asked, as <see cref="Access.Principal.Name"/>.</summary>
    public required string CreatedBy { get; init; }

    /// <inheritdoc cref="JobTriggers"/>
    public required string Trigger { get; init; }

    /// <summary>Digest of the recipe artifact's manifest.</summary>
    public required Digest RecipeDigest { get; init; }
    public required string RecipeType { get; init; }
    public required IReadOnlyList<Tag> Tags { get; init; }
    public required IReadOnlyList<PlannedTask> Tasks { get; init; }

    /// <summary>What is made of the images; null where nothing is.</summary>
    public DerivationPlan? Derivations { get; init; }

    /// <summary>The tags at which that is delivered.</summary>
    public IReadOnlyList<Tag> SideTags { get; init; } = [];
    public required IReadOnlyList<SecretUse> Secrets { get; init; }

    /// <summary>False where no other job may share the build or its result: with secrets, or without cache.</summary>
    public required bool Shareable { get; init; }

    /// <inheritdoc cref="TagPolicies"/>
    public string? TagPolicy { get; init; }

    /// <summary>
    /// Where the tags point now, by their names, where they are in a registry behind; those that are not there are left out.
    /// Null looks into the repository here.
    /// </summary>
    public IReadOnlyDictionary<string, string>? Seen { get; init; }

    /// <summary>Whether what succeeded is published where not every target did.</summary>
    public bool Partial { get; init; }

    /// <summary>Whether bases are looked up anew, so that only the node can tell whether an earlier result is the answer.</summary>
    public bool Refresh { get; init; }

    /// <summary>Seconds since a result was built up to which it is the answer.</summary>
    public required int MaxAgeSeconds { get; init; }

    /// <summary>
    /// Whether it may wait for a build that somebody else has in the queue: not where only nodes of their own build, since
    /// neither's node would then build for both.
    /// </summary>
    public bool MayWaitWithOthers { get; init; } = true;

    /// <summary>Seconds that it may wait for a node.</summary>
    public required int QueueSeconds { get; init; }
}

/// <summary>One target of a plan.</summary>
/// <param name="Key">The build key.</param>
internal sealed record PlannedTask(string? Microarchitecture, string Key, LeaseTask Task);
