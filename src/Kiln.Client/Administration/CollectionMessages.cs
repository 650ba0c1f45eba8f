using System.Text.Json.Serialization;

namespace Kiln.Client.Administration;

/// <summary>What happened, or would happen, to one thing in a garbage collection.</summary>
public sealed record CollectionItem
{
    /// <inheritdoc cref="CollectionKinds"/>
    [JsonPropertyName("kind")]
    public required string Kind { get; init; }

    [JsonPropertyName("repository")]
    public string? Repository { get; init; }

    /// <summary>A digest, a tag, an id: whatever names the thing.</summary>
    [JsonPropertyName("reference")]
    public required string Reference { get; init; }

    /// <summary>Bytes on the disk that go with it.</summary>
    [JsonPropertyName("bytes")]
    public long? Bytes { get; init; }

    /// <inheritdoc cref="CollectionActions"/>
    [JsonPropertyName("action")]
    public required string Action { get; init; }

    [JsonPropertyName("reason")]
    public required string Reason { get; init; }

    /// <summary>When it may go, where it waits.</summary>
    [JsonPropertyName("due")]
    public DateTimeOffset? Due { get; init; }
}

/// <summary>What a collection looks at.</summary>
public static class CollectionKinds
{
    public const string Tag = "tag";
    public const string Manifest = "manifest";

    /// <summary>A blob's being visible in a repository.</summary>
    public const string Link = "link";

    /// <summary>A blob's bytes.</summary>
    public const string Blob = "blob";
    public const string Upload = "upload";

    /// <summary>What a build lease pushed that has ended.</summary>
    public const string Staging = "staging";
    public const string Job = "job";
    public const string Log = "log";
    public const string Repository = "repository";
}

/// <summary>What becomes of it.</summary>
public static class CollectionActions
{
    public const string Deleted = "deleted";

    /// <summary>It would be deleted if this were no dry run.</summary>
    public const string Delete = "would be deleted";

    /// <summary>It was to go and could not; the rest went on.</summary>
    public const string Failed = "could not be deleted";

    /// <summary>It goes when its time is up, unless it is used again.</summary>
    public const string Wait = "waits";

    /// <summary>A rule would have it deleted, and another keeps it.</summary>
    public const string Keep = "kept";
}

/// <summary>How much of a kind was deleted, or waits.</summary>
public sealed record CollectionCount
{
    [JsonPropertyName("kind")]
    public required string Kind { get; init; }

    [JsonPropertyName("action")]
    public required string Action { get; init; }

    [JsonPropertyName("count")]
    public required long Count { get; init; }

    [JsonPropertyName("bytes")]
    public required long Bytes { get; init; }
}

/// <summary>A collection as a whole.</summary>
public sealed record CollectionSummary
{
    [JsonPropertyName("dryRun")]
    public required bool DryRun { get; init; }

    [JsonPropertyName("seconds")]
    public required double Seconds { get; init; }

    [JsonPropertyName("counts")]
    public required IReadOnlyList<CollectionCount> Counts { get; init; }
}

/// <summary>How far the collection is that runs, and how the last one went (<c>GET /admin/v1/gc</c>).</summary>
public sealed record CollectionStatus
{
    /// <summary>What is being looked at; null where nothing runs.</summary>
    [JsonPropertyName("phase")]
    public string? Phase { get; init; }

    /// <summary>The repository that it has come to, in a phase that goes through them.</summary>
    [JsonPropertyName("repository")]
    public string? Repository { get; init; }

    /// <summary>Of the one that runs.</summary>
    [JsonPropertyName("counts")]
    public IReadOnlyList<CollectionCount>? Counts { get; init; }

    [JsonPropertyName("lastStarted")]
    public DateTimeOffset? LastStarted { get; init; }

    [JsonPropertyName("last")]
    public CollectionSummary? Last { get; init; }
}

/// <summary>A line of the answer to <c>POST /admin/v1/gc</c>: one of these.</summary>
public sealed record CollectionLine
{
    [JsonPropertyName("item")]
    public CollectionItem? Item { get; init; }

    /// <summary>The phase that begins or goes on.</summary>
    [JsonPropertyName("phase")]
    public string? Phase { get; init; }

    /// <summary>The repository that it has come to.</summary>
    [JsonPropertyName("repository")]
    public string? Repository { get; init; }

    /// <summary>The last line of a collection that came to its end.</summary>
    [JsonPropertyName("summary")]
    public CollectionSummary? Summary { get; init; }

    /// <summary>Why it did not.</summary>
    [JsonPropertyName("error")]
    public string? Error { get; init; }
}
