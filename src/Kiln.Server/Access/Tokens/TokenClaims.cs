using System.Text.Json.Serialization;

namespace Kiln.Server.Access.Tokens;

/// <summary>The payload of Kiln's own tokens (RFC 7519; token specification of the distribution project).</summary>
internal sealed record TokenClaims
{
    [JsonPropertyName("iss")]
    public required string Issuer { get; init; }

    [JsonPropertyName("sub")]
    public required string Subject { get; init; }

    [JsonPropertyName("aud")]
    public required string Audience { get; init; }

    /// <summary>Unix seconds.</summary>
    [JsonPropertyName("exp")]
    public required long Expires { get; init; }

    /// <summary>Unix seconds.</summary>
    [JsonPropertyName("nbf")]
    public required long NotBefore { get; init; }

    /// <summary>Unix seconds.</summary>
    [JsonPropertyName("iat")]
    public required long IssuedAt { get; init; }

    [JsonPropertyName("jti")]
    public required string Id { get; init; }

    /// <summary>What it is for; null for one that stands for its principal wherever a password would.</summary>
    [JsonPropertyName("access")]
    public IReadOnlyList<TokenScope>? Access { get; init; }

    /// <summary>How its principal is known: <see cref="PrincipalKind"/> in lower case.</summary>
    [JsonPropertyName("kiln_kind")]
    public required string Kind { get; init; }

    [JsonPropertyName("kiln_user")]
    public string? User { get; init; }

    [JsonPropertyName("kiln_groups")]
    public IReadOnlyList<string>? Groups { get; init; }

    /// <summary>Id of the machine token that it was given for.</summary>
    [JsonPropertyName("kiln_token")]
    public string? TokenId { get; init; }

    /// <summary>The most that its bearer may do, as actions; null is no ceiling.</summary>
    [JsonPropertyName("kiln_ceiling")]
    public IReadOnlyList<string>? Ceiling { get; init; }

    /// <summary>Fingerprint of the htpasswd entry that it was given for.</summary>
    [JsonPropertyName("kiln_credential")]
    public string? Credential { get; init; }
}

/// <summary>The answer of the token endpoint.</summary>
internal sealed record TokenAnswer
{
    [JsonPropertyName("token")]
    public required string Token { get; init; }

    /// <summary>The same under the name that OAuth 2.0 gives it (RFC 6749, 5.1).</summary>
    [JsonPropertyName("access_token")]
    public required string AccessToken { get; init; }

    /// <summary>What the client may keep instead of the password, where it asked for that.</summary>
    [JsonPropertyName("refresh_token")]
    public string? RefreshToken { get; init; }

    [JsonPropertyName("token_type")]
    public string TokenType { get; init; } = "Bearer";

    /// <summary>Seconds.</summary>
    [JsonPropertyName("expires_in")]
    public required int ExpiresIn { get; init; }

    [JsonPropertyName("issued_at")]
    public required DateTimeOffset IssuedAt { get; init; }

    /// <summary>What was granted, which may be less than was asked for (RFC 6749, 3.3).</summary>
    [JsonPropertyName("scope")]
    public required string Scope { get; init; }
}

/// <summary>JSON of tokens and of the administration of machine tokens.</summary>
[JsonSerializable(typeof(TokenClaims))]
[JsonSerializable(typeof(TokenAnswer))]
[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
internal sealed partial class TokenJson : JsonSerializerContext;
