using System.Text.Json.Serialization;

namespace Kiln.Client.Administration;

/// <summary>Asks a Kiln registry for a machine token (<c>POST /admin/v1/tokens</c>).</summary>
public sealed record TokenRequest
{
    [JsonPropertyName("name")]
    public required string Name { get; init; }

    /// <summary>Patterns, as in the policy file.</summary>
    [JsonPropertyName("repositories")]
    public required IReadOnlyList<string> Repositories { get; init; }

    /// <summary><c>pull</c>, <c>push</c>, <c>delete</c>, <c>build</c>, <c>admin</c>.</summary>
    [JsonPropertyName("actions")]
    public required IReadOnlyList<string> Actions { get; init; }

    /// <summary>Seconds; null is for ever.</summary>
    [JsonPropertyName("expiresInSeconds")]
    public long? ExpiresInSeconds { get; init; }
}

/// <summary>A machine token.</summary>
public sealed record TokenView
{
    [JsonPropertyName("id")]
    public required string Id { get; init; }

    [JsonPropertyName("name")]
    public required string Name { get; init; }

    [JsonPropertyName("repositories")]
    public required IReadOnlyList<string> Repositories { get; init; }

    [JsonPropertyName("actions")]
    public required IReadOnlyList<string> Actions { get; init; }

    [JsonPropertyName("created")]
    public required DateTimeOffset Created { get; init; }

    /// <summary>The principal who issued it.</summary>
    [JsonPropertyName("createdBy")]
    public required string CreatedBy { get; init; }

    [JsonPropertyName("expires")]
    public DateTimeOffset? Expires { get; init; }

    /// <summary>To the minute; null where it was never used.</summary>
    [JsonPropertyName("lastUsed")]
    public DateTimeOffset? LastUsed { get; init; }

    /// <summary>The secret: only in the answer that issues it.</summary>
    [JsonPropertyName("token")]
    public string? Token { get; init; }

    public override string ToString() => $"token {Name}";
}

/// <summary>All machine tokens of a registry.</summary>
public sealed record TokenList([property: JsonPropertyName("tokens")] IReadOnlyList<TokenView> Tokens);

[JsonSerializable(typeof(TokenRequest))]
[JsonSerializable(typeof(TokenList))]
[JsonSerializable(typeof(CollectionLine))]
[JsonSerializable(typeof(CollectionStatus))]
[JsonSerializable(typeof(QuotaList))]
[JsonSerializable(typeof(DeliveryList))]
[JsonSerializable(typeof(DeliveryRetry))]
[JsonSourceGenerationOptions(
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    AllowDuplicateProperties = false,
    RespectNullableAnnotations = true
)]
public sealed partial class AdminJson : JsonSerializerContext;
