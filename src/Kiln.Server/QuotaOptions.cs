namespace Kiln.Server;

/// <summary>How much some repositories may hold together (docs/guide/storage.md).</summary>
public sealed record QuotaOptions
{
    /// <summary>Every rule whose patterns mean a repository holds for it.</summary>
    public IReadOnlyList<QuotaRule> Rules { get; init; } = [];
}

/// <summary>Limits of what all repositories of some patterns hold together; null is no limit.</summary>
public sealed record QuotaRule
{
    /// <summary>Patterns, as in the policy file: <c>team-a/**</c>.</summary>
    public required IReadOnlyList<string> Repositories { get; init; }

    /// <summary>
    /// Bytes of manifests and of the blobs that they refer to, each counted once, however many repositories have it.
    /// </summary>
    public long? MaxBytes { get; init; }

    public long? MaxTags { get; init; }

    /// <summary>Repositories with at least one manifest.</summary>
    public long? MaxRepositories { get; init; }
}
