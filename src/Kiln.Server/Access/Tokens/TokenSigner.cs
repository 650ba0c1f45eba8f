using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Kiln.Server.Access.Policies;
using Kiln.Server.Storage;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Kiln.Server.Access.Tokens;

/// <summary>
/// Makes and checks Kiln's own tokens: JWTs under an HMAC, since nobody but Kiln has to check them, with a key that
/// replicas share.
/// </summary>
internal sealed class TokenSigner
{
    /// <summary>The <c>iss</c> of every token.</summary>
    public const string Issuer = "kiln";

    private const string Audience = "kiln-registry";

    // What is only good for getting others is nothing that the registry itself takes.
    private const string RefreshAudience = "kiln-token";
    private const int KeyBytes = 32;

    private readonly TimeProvider _time;
    private readonly JsonWebTokenHandler _handler = new();
    private readonly SigningCredentials _signing;
    private readonly TokenValidationParameters _rules;
    private readonly TokenValidationParameters _refreshRules;

    public TokenSigner(ServerKeys keys, TimeProvider time)
    {
        _time = time;
        var bytes = keys.Get(ServerKeys.Tokens, KeyBytes);
        // The id tells keys apart and says nothing about them.
        var id = Convert.ToHexStringLower(HMACSHA256.HashData(bytes, "kiln token key id"u8).AsSpan(0, 8));
        var key = new SymmetricSecurityKey(bytes) { KeyId = id };
        _signing = new SigningCredentials(key, SecurityAlgorithms.HmacSha256);
        _bytes = bytes;
        _fingerprints = KeyFor("kiln credential fingerprints");
        _rules = new TokenValidationParameters
        {
            IssuerSigningKey = key,
            ValidAlgorithms = [SecurityAlgorithms.HmacSha256],
            ValidIssuer = Issuer,
            ValidAudience = Audience,
            // Its own clock: the one that tests move.
            LifetimeValidator = (notBefore, expires, _, _) => IsNow(notBefore, expires),
        };
        _refreshRules = _rules.Clone();
        _refreshRules.ValidAudience = RefreshAudience;
    }

    private readonly byte[] _bytes;
    private readonly byte[] _fingerprints;

    /// <summary>A key of 32 bytes for one purpose and no other, which the servers of a database share.</summary>
    public byte[] KeyFor(string purpose) => HMACSHA256.HashData(_bytes, Encoding.UTF8.GetBytes(purpose));

    /// <summary>A token for a principal.</summary>
    /// <param name="scopes">What it is for; null stands for all that the principal may do.</param>
    public string Sign(Principal principal, IReadOnlyList<TokenScope>? scopes, DateTimeOffset expires) =>
        Sign(principal, scopes, expires, Audience);

    /// <summary>A token that stands for a principal's password where tokens are given, and nowhere else.</summary>
    public string SignRefresh(Principal principal, DateTimeOffset expires) =>
        Sign(principal, scopes: null, expires, RefreshAudience);

    private string Sign(Principal principal, IReadOnlyList<TokenScope>? scopes, DateTimeOffset expires, string audience)
    {
        var now = _time.GetUtcNow().ToUnixTimeSeconds();
        var claims = new TokenClaims
        {
            Issuer = Issuer,
            Subject = principal.Name,
            Audience = audience,
            Expires = expires.ToUnixTimeSeconds(),
            NotBefore = now,
            IssuedAt = now,
            Id = Guid.NewGuid().ToString("n"),
            Access = scopes,
            Kind = principal.Kind.ToString(),
            User = principal.User,
            Groups = principal.Groups.Count == 0 ? null : principal.Groups,
            TokenId = principal.TokenId,
            Ceiling = principal.Ceiling == Rights.All ? null : RightNames.Of(principal.Ceiling),
            Credential = principal.Credential,
        };
        return _handler.CreateToken(JsonSerializer.Serialize(claims, TokenJson.Default.TokenClaims), _signing);
    }

    /// <summary>What a token says; null where it is not one of ours, or not valid now.</summary>
    public Task<TokenClaims?> VerifyAsync(JsonWebToken token) => VerifyAsync(token, _rules);

    /// <summary>As <see cref="VerifyAsync(JsonWebToken)"/>, for what <see cref="SignRefresh"/> made.</summary>
    public Task<TokenClaims?> VerifyRefreshAsync(JsonWebToken token) => VerifyAsync(token, _refreshRules);

    private async Task<TokenClaims?> VerifyAsync(JsonWebToken token, TokenValidationParameters rules)
    {
        var result = await _handler.ValidateTokenAsync(token, rules);
        return result.IsValid
            ? JsonSerializer.Deserialize(
                Base64UrlEncoder.DecodeBytes(token.EncodedPayload),
                TokenJson.Default.TokenClaims
            )
            : null;
    }

    /// <summary>Tells one password hash from another without giving it away.</summary>
    public string Fingerprint(string hash) =>
        Convert.ToHexStringLower(HMACSHA256.HashData(_fingerprints, Encoding.UTF8.GetBytes(hash)).AsSpan(0, 12));

    private bool IsNow(DateTime? notBefore, DateTime? expires)
    {
        var now = _time.GetUtcNow().UtcDateTime;
        return expires is { } end && now < end && !(notBefore > now);
    }
}
