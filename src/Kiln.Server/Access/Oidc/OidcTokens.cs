using System.Collections.Concurrent;
using Kiln.Server.Access.Policies;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Kiln.Server.Access.Oidc;

/// <summary>Checks tokens of the policy's issuers (OpenID Connect Core 1.0, 3.1.3.7; RFC 9068).</summary>
internal sealed partial class OidcTokens : IDisposable
{
    private const int MaxNameLength = 256;
    private const int MaxDocumentBytes = 1 << 20;
    private static readonly TimeSpan FetchTimeout = TimeSpan.FromSeconds(10);

    private readonly TimeProvider _time;
    private readonly ILogger<OidcTokens> _log;
    private readonly JsonWebTokenHandler _handler = new();
    private readonly ConcurrentDictionary<string, IssuerKeys> _keys = new(StringComparer.Ordinal);
    private readonly HttpClient _http = new(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false })
    {
        Timeout = FetchTimeout,
        MaxResponseContentBufferSize = MaxDocumentBytes,
    };

    public OidcTokens(TimeProvider time, ILogger<OidcTokens> log) => (_time, _log) = (time, log);

    /// <summary>Whose a token is, and until when it counts; null where it does not.</summary>
    public async Task<(Principal Principal, DateTimeOffset Expires)?> VerifyAsync(
        JsonWebToken token,
        Policy policy,
        CancellationToken cancel
    )
    {
        if (policy.Issuers.FirstOrDefault(i => i.Url == token.Issuer) is not { } issuer)
        {
            return null;
        }

        // Looked at before the keys are: nobody makes Kiln ask for keys with an algorithm that is not allowed.
        if (!issuer.Algorithms.Contains(token.Alg, StringComparer.Ordinal))
        {
            LogRefused(_log, issuer.Name, $"the algorithm '{token.Alg}' is not allowed");
            return null;
        }

        try
        {
            var keys = await _keys
                .GetOrAdd(issuer.Url, url => new IssuerKeys(url, _http, _time))
                .GetAsync(token.Kid.Length == 0 ? null : token.Kid, cancel);
            var result = await _handler.ValidateTokenAsync(token, Rules(issuer, keys));
            if (!result.IsValid)
            {
                LogRefused(_log, issuer.Name, result.Exception.GetType().Name);
                return null;
            }
        }
        catch (IssuerUnreachableException e)
        {
            LogUnreachable(_log, e.Message);
            return null;
        }

        var user = Values(token, issuer.UserClaim).FirstOrDefault();
        if (string.IsNullOrEmpty(user) || user.Length > MaxNameLength || user.Any(char.IsControl))
        {
            LogRefused(_log, issuer.Name, $"the claim '{issuer.UserClaim}' names no user");
            return null;
        }

        var principal = new Principal($"{issuer.Name}:{user}")
        {
            Kind = PrincipalKind.Oidc,
            User = user,
            Groups = policy.GroupsOf(issuer.Name, claim => Values(token, claim)),
        };
        return (principal, new DateTimeOffset(token.ValidTo, TimeSpan.Zero) + issuer.ClockSkew);
    }

    public void Dispose()
    {
        foreach (var keys in _keys.Values)
        {
            keys.Dispose();
        }

        _http.Dispose();
    }

    private TokenValidationParameters Rules(PolicyIssuer issuer, IEnumerable<SecurityKey> keys) =>
        new()
        {
            ValidIssuer = issuer.Url,
            ValidAudiences = issuer.Audiences,
            ValidAlgorithms = issuer.Algorithms,
            IssuerSigningKeys = keys,
            RequireExpirationTime = true,
            RequireSignedTokens = true,
            LifetimeValidator = (notBefore, expires, _, _) =>
            {
                var now = _time.GetUtcNow().UtcDateTime;
                return expires is { } end && now < end + issuer.ClockSkew && !(notBefore > now + issuer.ClockSkew);
            },
        };

    // A claim may have one value, or a list of them.
    private static IEnumerable<string> Values(JsonWebToken token, string claim) =>
        token.Claims.Where(c => c.Type == claim).Select(c => c.Value);

    [LoggerMessage(Level = LogLevel.Information, Message = "a token of the issuer {Issuer} is refused: {Why}")]
    private static partial void LogRefused(ILogger log, string issuer, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Message}")]
    private static partial void LogUnreachable(ILogger log, string message);
}
