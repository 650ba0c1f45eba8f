namespace Kiln.Server;

/// <summary>Which tags and untagged manifests garbage collection may delete (docs/guide/storage.md). Without rules, no tag.</summary>
public sealed record RetentionOptions
{
    /// <summary>For each tag, and for the untagged manifests of each repository, the first rule that is about it decides.</summary>
    public IReadOnlyList<RetentionRule> Rules { get; init; } = [];
}

/// <summary>
/// A rule about tags of some repositories. A tag that it is about is deleted unless one of its conditions keeps it; a rule
/// without such a condition keeps them all.
/// </summary>
public sealed record RetentionRule
{
    /// <summary>Patterns, as in the policy file: <c>ci/**</c>.</summary>
    public required IReadOnlyList<string> Repositories { get; init; }

    /// <summary>The tags that the rule is about; <c>*</c> stands for any characters.</summary>
    public IReadOnlyList<string> Tags { get; init; } = ["*"];

    /// <summary>Of the tags that the rule is about, so many are kept in each repository, those that were moved last.</summary>
    public int? KeepNewest { get; init; }

    /// <summary>Tags that were moved within this time are kept.</summary>
    public TimeSpan? KeepYounger { get; init; }

    /// <summary>Tags that are kept whatever their age; <c>*</c> stands for any characters.</summary>
    public IReadOnlyList<string> KeepTags { get; init; } = [];

    /// <summary>Manifests that nothing keeps are deleted after this time.</summary>
    public TimeSpan? DeleteUntaggedAfter { get; init; }

    /// <summary>So many of them are kept in each repository, those that were pushed last.</summary>
    public int? KeepNewestUntagged { get; init; }
}
