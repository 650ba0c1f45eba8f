using Kiln.Oci;
using Kiln.Server.Access.Logins;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;
using Kiln.Server.Audit;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access.Guard;

/// <summary>
/// Decides for each request who asks and whether they may. Nobody learns whether a repository exists that they may not
/// see: who is not logged in is asked to be (401), everybody else is refused (403), whether it is there or not.
/// </summary>
internal sealed class Gate(
    AccessSetting setting,
    PolicyStore policies,
    Login login,
    RememberedCredentials remembered,
    RateLimits limits,
    Requesters requesters,
    LeaseGate leases,
    ServerOptions options,
    IRightsBehind? behind = null
)
{
    private const string Basic = "Basic ";
    private const string Bearer = "Bearer ";

    // Bearer tokens of a few kilobytes; more is no credential.
    private const int MaxHeaderLength = 24 << 10;

    /// <summary>Lets a request through. Whoever is known, but may not, is left in the request's features.</summary>
    /// <param name="repository">The repository of the path; null where it has none.</param>
    /// <exception cref="OciException">It may not be answered: 401 with a challenge, 403, or 429.</exception>
    public async Task<Caller> AdmitAsync(HttpContext http, Need need, RepositoryName? repository)
    {
        if (setting.Mode == AccessMode.Behind)
        {
            return await behind!.AdmitAsync(http, need, repository);
        }

        if (LeaseGate.SecretIn(http) is { } secret)
        {
            return AdmitLease(http, secret, need, repository);
        }

        if (need.Kind == NeedKind.Lease)
        {
            throw await RefuseWithoutLeaseAsync(http);
        }

        if (setting.Mode != AccessMode.Policy)
        {
            return setting.Mode == AccessMode.Everybody
                ? new Caller(Principal.Anonymous, Policy.Everything, null)
                : new Caller(LoopbackPeer.Require(http), Policy.Everything, null);
        }

        var policy = policies.Current;
        var caller = await IdentifyAsync(http, policy);
        if (
            caller is { IsAnonymous: true }
            && need.Kind == NeedKind.Admin
            && TrustsPeers
            && LoopbackPeer.Of(http) is { } local
        )
        {
            // The server's own user, who could change the policy as well. Everywhere else a login counts and nothing else:
            // builds of others reach the registry over loopback too.
            return new Caller(local, policy.Policy, null);
        }

        if (caller is null)
        {
            throw Challenge(
                http,
                ScopesOf(http, need, repository),
                "invalid_token",
                "these credentials are wrong, expired or revoked"
            );
        }

        http.Features.Set(caller);
        limits.Count(http, caller, policy.Policy.Limits);
        if (!MayPass(caller, need, repository))
        {
            throw Refusal(http, caller, need, repository);
        }

        if (need.Rights.HasFlag(Rights.Build) || need.Action == AuditActions.ManifestPush)
        {
            await requesters.NoteAsync(caller.Principal, http.RequestAborted);
        }

        return caller;
    }

    /// <summary>
    /// Whether the caller may read another repository than the path's: one from which a blob is to be mounted.
    /// </summary>
    /// <exception cref="OciException">401: with a token for both repositories the caller might.</exception>
    public bool MayMount(HttpContext http, Caller caller, RepositoryName repository, RepositoryName from)
    {
        if (caller.May(from, Rights.Pull))
        {
            return true;
        }

        if (caller.Scopes is not null && caller.Policy.RightsOf(caller.Principal, from.Value).HasFlag(Rights.Pull))
        {
            throw Challenge(
                http,
                [Scope(repository, Rights.Push), Scope(from, Rights.Pull)],
                "insufficient_scope",
                $"this token is not for repository {from}; get one for both"
            );
        }

        return false;
    }

    /// <summary>Who presents these credentials; null where they are wrong. Without any: anonymous.</summary>
    /// <exception cref="OciException"><c>TOOMANYREQUESTS</c>, 429.</exception>
    public async Task<Caller?> IdentifyAsync(HttpContext http, PolicyInForce policy)
    {
        if (http.Request.Headers.Authorization.ToString() is not { Length: > 0 } header)
        {
            return new Caller(Principal.Anonymous, policy.Policy, null);
        }

        if (header.Length > MaxHeaderLength)
        {
            return null;
        }

        // Of HTTP/1 only: there requests come one after the other, and these items are for one at a time.
        var connection = HttpProtocol.IsHttp11(http.Request.Protocol)
            ? http.Features.Get<IConnectionItemsFeature>()?.Items
            : null;
        Caller? known = remembered.FindLatest(header, policy.Generation, connection);
        var key = known is null ? remembered.KeyOf(header) : default;
        known ??= remembered.Find(key, header, policy.Generation, connection);
        if (known is not null)
        {
            return await login.IsLiveAsync(known.Principal, http.RequestAborted) ? known : null;
        }

        var proof = await CheckAsync(http, header, policy);
        if (proof is null)
        {
            return null;
        }

        var caller = proof.Under(policy.Policy);
        remembered.Remember(key, caller, policy.Generation, proof.Expires);
        return caller;
    }

    /// <summary>Checks a user and password, and counts it where they are wrong.</summary>
    /// <exception cref="OciException"><c>TOOMANYREQUESTS</c>, 429.</exception>
    public async Task<Proof?> CheckPasswordAsync(HttpContext http, string user, string password, PolicyInForce policy)
    {
        limits.CheckFailures(http, policy.Policy.Limits);
        var proof = await login.ByPasswordAsync(user, password, policy, http.RequestAborted);
        if (proof is null)
        {
            limits.CountFailure(http, policy.Policy.Limits);
        }

        return proof;
    }

    /// <summary>The part of what was asked for that the caller may have.</summary>
    public static IReadOnlyList<TokenScope> Grant(Caller caller, IReadOnlyList<TokenScope> asked)
    {
        var granted = new List<TokenScope>();
        foreach (var scope in asked)
        {
            if (scope.Type == TokenScope.Repository && RepositoryName.TryParse(scope.Name, out var repository))
            {
                var rights = scope.ToRights() & caller.RightsIn(repository);
                if (rights != Rights.None)
                {
                    granted.Add(scope with { Actions = RightNames.Of(rights) });
                }
            }
            else if (
                (
                    scope.Name == TokenScope.Catalog.Name
                    && scope.Type == TokenScope.Registry
                    && caller.Policy.MayAnything(caller.Principal)
                )
                || (
                    scope.Name == TokenScope.Lease.Name
                    && scope.Type == TokenScope.Registry
                    && NodeGrants.MayClaim(caller)
                )
                || (scope.Name == TokenScope.Admin.Name && scope.Type == TokenScope.Registry && IsAdmin(caller))
            )
            {
                granted.Add(
                    scope with
                    {
                        Actions = scope.Name == TokenScope.Lease.Name ? TokenScope.Lease.Actions : [TokenScope.Every],
                    }
                );
            }
        }

        return granted;
    }

    /// <summary>A 401 that says where to get a token for what (token specification; RFC 6750, 3).</summary>
    /// <param name="error">A code of RFC 6750, 3.1; used only where the request brought credentials.</param>
    public OciException Challenge(HttpContext http, IReadOnlyList<TokenScope> scopes, string? error, string message)
    {
        var root = CalledAddress.Of(http, options);
        var challenge = $"Bearer realm=\"{root}/token\",service=\"{new Uri(root).Authority}\"";
        if (scopes.Count > 0)
        {
            challenge += $",scope=\"{string.Join(' ', scopes)}\"";
        }

        http.Response.Headers.WWWAuthenticate = error is null ? challenge : $"{challenge},error=\"{error}\"";
        return new OciException(ErrorCodes.Unauthorized, message);
    }

    private Caller AdmitLease(HttpContext http, string secret, Need need, RepositoryName? repository)
    {
        var allowed = policies.Current.Policy.Limits;
        limits.CheckFailures(http, allowed);
        if (leases.Admit(secret, need, repository) is { } caller)
        {
            http.Features.Set(caller);
            return caller;
        }

        limits.CountFailure(http, allowed);
        throw Challenge(
            http,
            ScopesOf(http, need, repository),
            "invalid_token",
            "there is no lease with this credential, or it is over"
        );
    }

    // Whoever brings no lease is told to bring one; who brings something else is told that it is not for this.
    private async Task<OciException> RefuseWithoutLeaseAsync(HttpContext http)
    {
        const string wanted = "this takes the credential that came with the lease, as a bearer token or a password";
        var policy = policies.Current;
        var caller = setting.Mode == AccessMode.Policy ? await IdentifyAsync(http, policy) : null;
        return caller is { IsAnonymous: false }
            ? new OciException(ErrorCodes.Denied, $"{caller.Principal.Name} may not speak for a lease; {wanted}")
            : Challenge(http, [], caller is null && HasCredentials(http) ? "invalid_token" : null, wanted);
    }

    private static bool HasCredentials(HttpContext http) => http.Request.Headers.Authorization.Count > 0;

    private async Task<Proof?> CheckAsync(HttpContext http, string header, PolicyInForce policy) =>
        header.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase)
            ? await login.ByTokenAsync(header[Bearer.Length..].Trim(), policy, http.RequestAborted)
        : header.StartsWith(Basic, StringComparison.OrdinalIgnoreCase)
        && Login.ReadBasic(header[Basic.Length..].Trim()) is var (user, password)
            ? await CheckPasswordAsync(http, user, password, policy)
        : null;

    // A build on the host's network, or under the server's own account, would be the server's own user as well.
    private bool TrustsPeers => options.Build is { AllowHostNetwork: false, Unsafe: false };

    private OciException Refusal(HttpContext http, Caller caller, Need need, RepositoryName? repository)
    {
        var scopes = ScopesOf(http, need, repository);
        var what = need.Kind switch
        {
            NeedKind.Admin => "manage this registry",
            NeedKind.Catalog => "list repositories",
            NeedKind.Login => "use this registry",
            NeedKind.Claim => "build for others (lease) or for themselves (build)",
            _ => $"{string.Join(" and ", RightNames.Of(need.Rights | Least(need)))} in repository {repository}",
        };
        if (caller.Scopes is not null && MayPass(caller with { Scopes = null }, need, repository))
        {
            return Challenge(http, scopes, "insufficient_scope", $"this token is not for what you ask: {what}");
        }

        return caller.IsAnonymous
            ? Challenge(http, scopes, error: null, $"you are not logged in, and need to be to {what}")
            : new OciException(ErrorCodes.Denied, $"{caller.Principal.Name} may not {what}");
    }

    private static bool MayPass(Caller caller, Need need, RepositoryName? repository) =>
        need.Kind switch
        {
            NeedKind.Nothing => true,
            NeedKind.Login => !caller.IsAnonymous || caller.Scopes is not null,
            // Nobody in particular has to bring a token too: clients that could log in would not, were they just answered.
            NeedKind.Catalog => Covers(caller, TokenScope.Catalog)
                && (!caller.IsAnonymous || caller.Scopes is not null),
            NeedKind.Repository => caller.May(repository!, need.Rights),
            NeedKind.AnyRight => caller.RightsIn(repository!) != Rights.None,
            NeedKind.Claim => NodeGrants.MayClaim(caller),
            _ => IsAdmin(caller),
        };

    private static bool IsAdmin(Caller caller) =>
        Covers(caller, TokenScope.Admin) && caller.Policy.IsAdmin(caller.Principal);

    private static bool Covers(Caller caller, TokenScope wanted) =>
        caller.Scopes is null || caller.Scopes.Any(s => s.Type == wanted.Type && s.Name == wanted.Name);

    private static IReadOnlyList<TokenScope> ScopesOf(HttpContext http, Need need, RepositoryName? repository) =>
        need.Kind switch
        {
            NeedKind.Catalog => [TokenScope.Catalog],
            NeedKind.Admin => [TokenScope.Admin],
            NeedKind.Claim => [TokenScope.Lease],
            NeedKind.Repository or NeedKind.AnyRight => http.Request.Query.ContainsKey("mount")
            && RepositoryName.TryParse(http.Request.Query["from"], out var from)
                ? [Scope(repository!, need.Rights | Least(need)), Scope(from, Rights.Pull)]
                : [Scope(repository!, need.Rights | Least(need))],
            _ => [],
        };

    private static Rights Least(Need need) => need.Kind == NeedKind.AnyRight ? Rights.Pull : Rights.None;

    // Who pushes looks first what is there already.
    private static TokenScope Scope(RepositoryName repository, Rights rights) =>
        new(
            TokenScope.Repository,
            repository.Value,
            RightNames.Of(rights.HasFlag(Rights.Push) ? rights | Rights.Pull : rights)
        );
}
