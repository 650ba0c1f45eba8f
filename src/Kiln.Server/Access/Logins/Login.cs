using System.Text;
using Kiln.Server.Access.Oidc;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;
using Microsoft.IdentityModel.JsonWebTokens;

namespace Kiln.Server.Access.Logins;

/// <summary>What a credential proves.</summary>
/// <param name="Scopes">What a token is limited to; null where there is no such limit.</param>
/// <param name="Expires">Until when it does; null where nothing says.</param>
internal sealed record Proof(Principal Principal, IReadOnlyList<TokenScope>? Scopes, DateTimeOffset? Expires)
{
    public Caller Under(Policy policy) => new(Principal, policy, Scopes) { Expires = Expires };
}

/// <summary>Finds out whose some credentials are: passwords, machine tokens, Kiln's own tokens, issuers' tokens.</summary>
internal sealed class Login(Passwords passwords, MachineTokens machines, TokenSigner signer, OidcTokens oidc)
{
    // Three parts of base64url; what is longer is no token that a header should bring.
    private const int MaxTokenLength = 16 << 10;

    /// <summary>
    /// A user with a password; in its place may stand a machine token, an issuer's token (<c>docker login</c> knows no
    /// other way) or a token that Kiln made for a build. The user's name does not matter then.
    /// </summary>
    /// <returns>Null where they are wrong.</returns>
    public async Task<Proof?> ByPasswordAsync(
        string user,
        string password,
        PolicyInForce policy,
        CancellationToken cancel
    )
    {
        if (MachineTokens.IsSecret(password) || IsJwt(password))
        {
            var proof = await ByTokenAsync(password, policy, cancel);
            // A bearer token for some scopes is not a password for getting others.
            return proof?.Scopes is null ? proof : null;
        }

        return await passwords.CheckAsync(policy.Htpasswd, user, password, cancel)
            ? new Proof(Known(user, policy.Htpasswd.Find(user)!), null, null)
            : null;
    }

    /// <summary>A bearer token.</summary>
    /// <returns>Null where it is wrong, expired or revoked.</returns>
    public async Task<Proof?> ByTokenAsync(string text, PolicyInForce policy, CancellationToken cancel)
    {
        if (MachineTokens.IsSecret(text))
        {
            return await machines.FindAsync(text, cancel) is { } machine
                ? new Proof(machine.Principal, null, machine.Expires)
                : null;
        }

        if (!IsJwt(text) || Parse(text) is not { } token)
        {
            return null;
        }

        if (token.Issuer != TokenSigner.Issuer)
        {
            return await oidc.VerifyAsync(token, policy.Policy, cancel) is var (principal, expires)
                ? new Proof(principal, null, expires)
                : null;
        }

        return await signer.VerifyAsync(token) is { } claims ? await ProofAsync(claims, policy, cancel) : null;
    }

    /// <summary>
    /// What a client keeps instead of a password: a refresh token of ours, or a machine's or an issuer's token.
    /// </summary>
    /// <returns>Null where it is wrong, expired or revoked, or for some scopes only.</returns>
    public async Task<Proof?> ByRefreshTokenAsync(string text, PolicyInForce policy, CancellationToken cancel)
    {
        if (
            IsJwt(text)
            && Parse(text) is { Issuer: TokenSigner.Issuer } token
            && await signer.VerifyRefreshAsync(token) is { } claims
        )
        {
            return await ProofAsync(claims, policy, cancel);
        }

        var proof = await ByTokenAsync(text, policy, cancel);
        return proof?.Scopes is null ? proof : null;
    }

    /// <summary>Whether the machine token behind a principal counts at this moment; true for everybody else.</summary>
    public async Task<bool> IsLiveAsync(Principal principal, CancellationToken cancel) =>
        principal.TokenId is null || await machines.FindByIdAsync(principal.TokenId, cancel) is not null;

    /// <summary>A user and password of an <c>Authorization: Basic</c> value (RFC 7617); null where it is none.</summary>
    public static (string User, string Password)? ReadBasic(string value)
    {
        var buffer = new byte[value.Length];
        if (!Convert.TryFromBase64String(value, buffer, out var length))
        {
            return null;
        }

        var text = Encoding.UTF8.GetString(buffer, 0, length);
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? null : (text[..colon], text[(colon + 1)..]);
    }

    private async Task<Proof?> ProofAsync(TokenClaims claims, PolicyInForce policy, CancellationToken cancel) =>
        await StillAsync(claims, policy, cancel) is { } still
            ? new Proof(
                claims.Ceiling is { } ceiling ? still with { Ceiling = RightNames.All(ceiling) } : still,
                claims.Access,
                DateTimeOffset.FromUnixTimeSeconds(claims.Expires)
            )
            : null;

    // What the token was given for may have changed since.
    private async Task<Principal?> StillAsync(TokenClaims claims, PolicyInForce policy, CancellationToken cancel) =>
        Enum.TryParse<PrincipalKind>(claims.Kind, out var kind)
            ? kind switch
            {
                PrincipalKind.Anonymous => Principal.Anonymous,
                PrincipalKind.User => policy.Htpasswd.Find(claims.User ?? "") is { } hash
                && Known(claims.User!, hash) is var known
                && known.Credential == claims.Credential
                    ? known
                    : null,
                PrincipalKind.Oidc => policy.Policy.Issuers.Any(i =>
                    claims.Subject.StartsWith(i.Name + ":", StringComparison.Ordinal)
                )
                    ? new Principal(claims.Subject)
                    {
                        Kind = kind,
                        User = claims.User,
                        Groups = [.. (claims.Groups ?? []).Where(policy.Policy.Groups.ContainsKey)],
                    }
                    : null,
                PrincipalKind.Machine => (await machines.FindByIdAsync(claims.TokenId ?? "", cancel))?.Principal,
                _ => null,
            }
            : null;

    private Principal Known(string user, string hash) =>
        new(user)
        {
            Kind = PrincipalKind.User,
            User = user,
            Credential = signer.Fingerprint(hash),
        };

    private static bool IsJwt(string text) =>
        text.Length <= MaxTokenLength
        && text.StartsWith("eyJ", StringComparison.Ordinal)
        && text.AsSpan().Count('.') == 2;

    private static JsonWebToken? Parse(string text)
    {
        try
        {
            return new JsonWebToken(text);
        }
        catch (Exception e) when (e is ArgumentException or FormatException or System.Text.Json.JsonException)
        {
            return null;
        }
    }
}
