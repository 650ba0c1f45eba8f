using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Logins;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;
using Kiln.Server.Audit;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>
/// <c>/token</c>: gives bearer tokens, by GET with Basic credentials or none, and by POST as OAuth 2.0 has it (token
/// specification of the distribution project; RFC 6749, 4.3 and 6).
/// </summary>
internal sealed class TokenEndpoint(
    AccessSetting setting,
    PolicyStore policies,
    Gate gate,
    Login login,
    RateLimits limits,
    TokenSigner signer,
    RequestAudit audit,
    LeaseGate leases,
    TimeProvider time
)
{
    public const string Path = "/token";

    private const int MaxFormBytes = 64 << 10;
    private static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(5);

    // As long as people accept to log in again. A changed password or a revoked token ends it before.
    private static readonly TimeSpan RefreshLifetime = TimeSpan.FromDays(90);

    public async Task AnswerAsync(HttpContext http)
    {
        if (setting.Mode != AccessMode.Policy)
        {
            throw new OciException(
                ErrorCodes.Unsupported,
                "this registry has no users, and asks nobody for a token; give kiln serve a --policy for that"
            );
        }

        var policy = policies.Current;
        if (LeaseGate.SecretIn(http) is { } secret)
        {
            await WriteLeaseAsync(http, secret);
        }
        else if (HttpMethods.IsPost(http.Request.Method))
        {
            await PostAsync(http, policy);
        }
        else if (HttpMethods.IsGet(http.Request.Method))
        {
            var caller = await gate.IdentifyAsync(http, policy);
            // A bearer token is no credential for another one: it would never end.
            await WriteAsync(
                http,
                caller is { Scopes: null } ? caller : null,
                TokenScope.Parse(http.Request.Query["scope"]),
                policy,
                // "offline_token: Whether to return a refresh token along with the bearer token."
                http.Request.Query["offline_token"] == "true"
            );
        }
        else
        {
            http.Response.Headers.Allow = "GET, POST";
            throw new OciException(ErrorCodes.MethodUnsupported, "tokens are asked for with GET or POST");
        }
    }

    private async Task PostAsync(HttpContext http, PolicyInForce policy)
    {
        var form = await ReadFormAsync(http);
        var proof = (string?)form["grant_type"] switch
        {
            "password" => await gate.CheckPasswordAsync(
                http,
                form["username"].ToString(),
                form["password"].ToString(),
                policy
            ),
            // What docker keeps as an "identity token": a machine's or an issuer's token.
            "refresh_token" => await RefreshAsync(http, form["refresh_token"].ToString(), policy),
            _ => throw new OciException(
                new ErrorCode("UNSUPPORTED", 400),
                "grant_type must be password or refresh_token"
            ),
        };
        await WriteAsync(
            http,
            proof?.Under(policy.Policy),
            TokenScope.Parse(form["scope"]),
            policy,
            // "access_type: Access which is being requested. If "offline" is provided then a refresh token will be returned."
            form["access_type"] == "offline"
                && form["grant_type"] == "password"
        );
    }

    private async Task<Proof?> RefreshAsync(HttpContext http, string token, PolicyInForce policy)
    {
        limits.CheckFailures(http, policy.Policy.Limits);
        var proof = await login.ByRefreshTokenAsync(token, policy, http.RequestAborted);
        if (proof is null)
        {
            limits.CountFailure(http, policy.Policy.Limits);
        }

        return proof;
    }

    private async Task WriteAsync(
        HttpContext http,
        Caller? caller,
        IReadOnlyList<TokenScope> asked,
        PolicyInForce policy,
        bool offline
    )
    {
        if (caller is null)
        {
            audit.Write(http, Principal.Anonymous.Name, AuditActions.Login, AuditOutcomes.Refused);
            http.Response.Headers.WWWAuthenticate = "Basic realm=\"kiln\", charset=\"UTF-8\"";
            throw new OciException(
                ErrorCodes.Unauthorized,
                "the user or the password is wrong, or the token is expired or revoked"
            );
        }

        limits.Count(http, caller, policy.Policy.Limits);
        var now = time.GetUtcNow();
        // What was given for a token does not outlive it.
        var end = caller.Expires < now + Lifetime ? caller.Expires.Value : now + Lifetime;
        var granted = Gate.Grant(caller, asked);
        var token = signer.Sign(caller.Principal, granted, end);
        await WriteAsync(
            http,
            new TokenAnswer
            {
                Token = token,
                AccessToken = token,
                RefreshToken = offline ? Refresh(caller, now) : null,
                ExpiresIn = (int)Math.Max(1, (end - now).TotalSeconds),
                IssuedAt = now,
                Scope = string.Join(' ', granted),
            }
        );
    }

    private static async Task WriteAsync(HttpContext http, TokenAnswer answer)
    {
        var response = http.Response;
        response.Headers.CacheControl = "no-store";
        response.ContentType = MediaTypes.Json;
        await response.Body.WriteAsync(
            JsonSerializer.SerializeToUtf8Bytes(answer, TokenJson.Default.TokenAnswer),
            http.RequestAborted
        );
    }

    // Tools that only know how to log in come here with a lease's credential as a password. It is its own token: what was
    // given for it could not end with the lease.
    private async Task WriteLeaseAsync(HttpContext http, string secret)
    {
        if (leases.Live(secret) is not { } lease)
        {
            await WriteAsync(http, null, [], policies.Current, offline: false);
            return;
        }

        var now = time.GetUtcNow();
        await WriteAsync(
            http,
            new TokenAnswer
            {
                Token = secret,
                AccessToken = secret,
                ExpiresIn = (int)Math.Max(1, (lease.Expires!.Value - now.ToUnixTimeMilliseconds()) / 1000),
                IssuedAt = now,
                Scope = $"{TokenScope.Repository}:{lease.Repository}:pull,push",
            }
        );
    }

    // An issuer's token ends within minutes, and with it what it says of groups: there is nothing to keep of it.
    private string? Refresh(Caller caller, DateTimeOffset now)
    {
        var end = now + RefreshLifetime;
        return caller.Principal.Kind is PrincipalKind.User or PrincipalKind.Machine
            ? signer.SignRefresh(caller.Principal, caller.Expires < end ? caller.Expires.Value : end)
            : null;
    }

    private static async Task<IFormCollection> ReadFormAsync(HttpContext http)
    {
        if (
            http.Request.ContentLength > MaxFormBytes
            // The framework's word too: it throws at what it does not take for a form.
            || !http.Request.HasFormContentType
            || http.Request.ContentType?.StartsWith(
                "application/x-www-form-urlencoded",
                StringComparison.OrdinalIgnoreCase
            ) != true
        )
        {
            throw new OciException(
                new ErrorCode("UNSUPPORTED", 400),
                $"the body must be a form (application/x-www-form-urlencoded) of {MaxFormBytes} bytes at most"
            );
        }

        try
        {
            http.Features.Get<Microsoft.AspNetCore.Http.Features.IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize =
                MaxFormBytes;
            return await http.Request.ReadFormAsync(http.RequestAborted);
        }
        catch (InvalidDataException e)
        {
            throw new OciException(new ErrorCode("UNSUPPORTED", 400), e.Message);
        }
    }
}
