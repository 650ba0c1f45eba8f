namespace Kiln.Server;

/// <summary>Tags that are never moved or deleted once they are there (docs/guide/storage.md).</summary>
public sealed record ImmutabilityOptions
{
    public IReadOnlyList<ImmutabilityRule> Rules { get; init; } = [];
}

/// <summary>Tags of some repositories stay what they are.</summary>
public sealed record ImmutabilityRule
{
    /// <summary>Patterns, as in the policy file: <c>release/**</c>.</summary>
    public required IReadOnlyList<string> Repositories { get; init; }

    /// <summary>The tags; <c>*</c> stands for any characters.</summary>
    public IReadOnlyList<string> Tags { get; init; } = ["*"];
}
