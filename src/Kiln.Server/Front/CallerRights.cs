using System.Net.Http.Headers;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Connections;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Front;

/// <summary>
/// What somebody may do with builds of a repository is what the registry behind lets them do there: to read jobs and logs
/// is to pull, to build is to push and to pull. It is asked with the caller's own credentials, before this server does
/// anything with its own.
/// </summary>
internal sealed class CallerRights(
    RegistryBehind behind,
    PassThrough wire,
    Verdicts verdicts,
    CallerNames names,
    ServerOptions options
) : IRightsBehind
{
    public async Task<Caller> AdmitAsync(HttpContext http, Need need, RepositoryName? repository)
    {
        var caller = need.Kind switch
        {
            NeedKind.Nothing => Nobody,
            NeedKind.Login => await LoginAsync(http),
            NeedKind.AnyRight => await InAsync(http, repository!, Rights.Pull),
            NeedKind.Repository => await InAsync(http, repository!, need.Rights),
            NeedKind.Admin => LoopbackPeer.Of(http) is { } local
                ? new Caller(local, Policy.Everything, null)
                : throw new OciException(ErrorCodes.Denied, "only this server's own user may manage it, over loopback"),
            _ => throw new OciException(
                ErrorCodes.Denied,
                $"this is not there in front of another registry: {behind.Host} does not know such a right"
            ),
        };
        http.Features.Set(caller);
        return caller;
    }

    /// <summary>Who may do nothing here.</summary>
    public static Caller Nobody { get; } = new(Principal.Anonymous, Policy.Everything, []);

    /// <summary>Whether the caller may pull from a repository.</summary>
    /// <exception cref="OciException">The registry behind has no answer.</exception>
    public async Task<bool> MayPullAsync(HttpContext http, RepositoryName repository) =>
        (await AskAsync(http, Credentials(http), repository, Rights.Pull)).Allowed;

    /// <summary>
    /// Whether all that go by a name in a request may pull from a repository. Nobody in particular may what is allowed
    /// without credentials, whatever those of the request are good for there.
    /// </summary>
    /// <param name="principal">Who was found to ask.</param>
    /// <inheritdoc cref="MayPullAsync(HttpContext, RepositoryName)"/>
    public async Task<bool> MayPullAsync(HttpContext http, RepositoryName repository, string principal)
    {
        var credentials = principal == Principal.Anonymous.Name ? null : Credentials(http);
        return (await AskAsync(http, credentials, repository, Rights.Pull)).Allowed;
    }

    /// <summary>
    /// Requires that the caller may move a tag that is there: what it points at is pushed to it once more with their
    /// credentials. That changes nothing, and takes this right and no other.
    /// </summary>
    /// <exception cref="OciException">They may not, or the registry behind has no answer.</exception>
    public async Task RequireMoveAsync(HttpContext http, RepositoryName repository, Tag tag, RemoteManifest manifest)
    {
        using var content = new ReadOnlyMemoryContent(manifest.Bytes);
        content.Headers.ContentType = new MediaTypeHeaderValue(manifest.Info.MediaType);
        var target = $"/v2/{repository}/manifests/{tag}";
        using var answer = await wire.AskAsync(http, HttpMethod.Put, target, Credentials(http), content);
        var verdict = Judge(answer);
        if (!verdict.Allowed)
        {
            throw Refusal(
                http,
                verdict,
                $"{behind.Host} does not let you move the tag {tag} of {repository}, so nothing is built for it; ask for another tag"
            );
        }
    }

    /// <summary>
    /// Whoever has just pushed: the registry behind has let them, so that it is asked only whether they may pull as well.
    /// </summary>
    /// <returns>Null where they may not build, with the reason in the second place.</returns>
    public async Task<(Principal? Builder, string? WhyNot)> PushedAsync(HttpContext http, RepositoryName repository)
    {
        // Why somebody could who has brought none is not known: it need not hold for anything else.
        if (Credentials(http) is { } credentials)
        {
            verdicts.Keep(http, credentials, repository.Value, Rights.Push, new Verdict(Allowed: true, 202, []));
        }

        try
        {
            return ((await InAsync(http, repository, Rights.Push | Rights.Build)).Principal, null);
        }
        catch (OciException e)
        {
            return (null, e.Message);
        }
    }

    private async Task<Caller> LoginAsync(HttpContext http)
    {
        var verdict = await AskAsync(http, Credentials(http), null, Rights.None);
        return verdict.Allowed
            ? new Caller(await IdentifyAsync(http, null, Rights.None), Policy.Everything, [])
            : throw Refusal(http, verdict, $"{behind.Host} does not let you in");
    }

    private async Task<Caller> InAsync(HttpContext http, RepositoryName repository, Rights rights)
    {
        if ((rights & ~(Rights.Pull | Rights.Push | Rights.Build)) != Rights.None)
        {
            throw new OciException(
                ErrorCodes.Denied,
                $"nobody is known here to manage {repository}: whose it is, {behind.Host} does not say"
            );
        }

        var credentials = Credentials(http);
        var builds = rights.HasFlag(Rights.Build);
        if (builds || rights.HasFlag(Rights.Push))
        {
            var push = await AskAsync(http, credentials, repository, Rights.Push);
            if (!push.Allowed)
            {
                throw Refusal(
                    http,
                    push,
                    $"{behind.Host} does not let you push to {repository}, so you may not build there"
                );
            }
        }

        var pull = await AskAsync(http, credentials, repository, Rights.Pull);
        if (!pull.Allowed)
        {
            throw Refusal(http, pull, $"{behind.Host} does not let you pull from {repository}");
        }

        var principal = await IdentifyAsync(http, repository, builds ? Rights.Push : Rights.Pull);
        if (builds && principal.Kind == PrincipalKind.Anonymous && !options.Access.InsecureAnonymous)
        {
            throw new OciException(
                ErrorCodes.Denied,
                $"{behind.Host} lets everybody push to {repository}, but this server builds for nobody in particular: its operator can allow that (kiln serve --insecure-anonymous)"
            );
        }

        var granted = Rights.Pull | (builds ? Rights.Push | Rights.Build : rights);
        return new Caller(
            principal,
            Policy.Everything,
            [new TokenScope(TokenScope.Repository, repository.Value, RightNames.Of(granted))]
        );
    }

    // Credentials are somebody's only where they made a difference: a registry that lets everybody in looks at none.
    private async Task<Principal> IdentifyAsync(HttpContext http, RepositoryName? repository, Rights right)
    {
        var credentials = Credentials(http);
        if (
            credentials is not null
            && !(await AskAsync(http, null, repository, right)).Allowed
            && names.Of(credentials) is { Kind: not PrincipalKind.Anonymous } named
        )
        {
            return named;
        }

        return TrustsPeers && ListenAddresses.IsOwnName(http.Request.Host.Host) && LoopbackPeer.Of(http) is { } local
            ? local
            : Principal.Anonymous;
    }

    // A build on the host's network, or under the server's own account, would be the server's own user as well.
    private bool TrustsPeers => options.Build is { AllowHostNetwork: false, Unsafe: false };

    private static string? Credentials(HttpContext http) =>
        http.Request.Headers.Authorization.ToString() is { Length: > 0 } header ? header : null;

    private async Task<Verdict> AskAsync(
        HttpContext http,
        string? credentials,
        RepositoryName? repository,
        Rights right
    )
    {
        if (credentials is not null && (BuildPulls.IsSecret(credentials) || LeaseGate.SecretIn(http) is not null))
        {
            return new Verdict(Allowed: false, 403, []);
        }

        var name = repository?.Value ?? "";
        if (verdicts.Find(http, credentials, name, right) is { } known)
        {
            return known;
        }

        var verdict = right switch
        {
            Rights.Push => await AskToPushAsync(http, credentials, repository!),
            Rights.Pull => await AskToPullAsync(http, credentials, repository!),
            _ => await AskAsync(http, credentials, "/v2/"),
        };
        verdicts.Keep(http, credentials, name, right, verdict);
        return verdict;
    }

    private async Task<Verdict> AskToPullAsync(HttpContext http, string? credentials, RepositoryName repository)
    {
        var verdict = await AskAsync(http, credentials, $"/v2/{repository}/tags/list?n=1");
        // Nothing was ever pushed there, or somebody is not to know of it: whoever may push may know.
        return verdict.Status == StatusCodes.Status404NotFound
            ? await AskAsync(http, credentials, repository, Rights.Push)
            : verdict;
    }

    private async Task<Verdict> AskAsync(HttpContext http, string? credentials, string target)
    {
        using var answer = await wire.AskAsync(http, HttpMethod.Get, target, credentials);
        return Judge(answer);
    }

    // There is no other question that every registry answers: an upload is begun, and given up at once.
    private async Task<Verdict> AskToPushAsync(HttpContext http, string? credentials, RepositoryName repository)
    {
        var target = $"/v2/{repository}/blobs/uploads/";
        using var answer = await wire.AskAsync(http, HttpMethod.Post, target, credentials, new ByteArrayContent([]));
        if (
            answer.IsSuccessStatusCode
            && answer.Headers.Location is { } location
            && PassedHeaders.Location((int)answer.StatusCode, location.OriginalString, behind.Root, "")
                is ['/', ..] upload
        )
        {
            using var ended = await wire.AskAsync(http, HttpMethod.Delete, upload, credentials);
        }

        return Judge(answer);
    }

    private Verdict Judge(HttpResponseMessage answer)
    {
        var status = (int)answer.StatusCode;
        if (status is 429 or >= 500)
        {
            throw new OciException(
                new OciError(
                    status == 429 ? ErrorCodes.TooManyRequests : ErrorCodes.Unavailable,
                    $"{behind.Host}, the registry behind this one, answers {status} when it is asked what you may do; try again later"
                )
                {
                    RetryAfter = answer.Headers.RetryAfter?.Delta ?? RegistryBehind.Pause,
                }
            );
        }

        var challenges = answer.Headers.NonValidated.TryGetValues("WWW-Authenticate", out var values)
            ? values.ToArray()
            : [];
        return new Verdict(answer.IsSuccessStatusCode, status, challenges);
    }

    // With its challenge a client gets a token for what it wants, from whoever gives them for the registry behind.
    private static OciException Refusal(HttpContext http, Verdict verdict, string message)
    {
        if (verdict.Status != StatusCodes.Status401Unauthorized)
        {
            return new OciException(ErrorCodes.Denied, $"{message} (it answers {verdict.Status})");
        }

        http.Response.Headers.WWWAuthenticate = verdict.Challenges.ToArray();
        return new OciException(ErrorCodes.Unauthorized, $"{message}; log in as you do there");
    }
}
