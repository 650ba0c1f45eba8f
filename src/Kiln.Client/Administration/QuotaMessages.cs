using System.Text.Json.Serialization;

namespace Kiln.Client.Administration;

/// <summary>How far a quota is used (<c>GET /admin/v1/quotas</c>). Without a limit, that limit is null.</summary>
public sealed record QuotaView
{
    /// <summary>The patterns of the repositories that hold this together.</summary>
    [JsonPropertyName("repositories")]
    public required IReadOnlyList<string> Repositories { get; init; }

    [JsonPropertyName("bytes")]
    public required long Bytes { get; init; }

    [JsonPropertyName("maxBytes")]
    public long? MaxBytes { get; init; }

    [JsonPropertyName("tags")]
    public required long Tags { get; init; }

    [JsonPropertyName("maxTags")]
    public long? MaxTags { get; init; }

    /// <summary>Repositories with at least one manifest.</summary>
    [JsonPropertyName("repositoryCount")]
    public required long RepositoryCount { get; init; }

    [JsonPropertyName("maxRepositories")]
    public long? MaxRepositories { get; init; }
}

/// <summary>All quotas of a registry.</summary>
public sealed record QuotaList([property: JsonPropertyName("quotas")] IReadOnlyList<QuotaView> Quotas);
