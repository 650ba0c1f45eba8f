using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Access.Policies;
using Kiln.Server.Audit;
using Kiln.Server.Registry;
using Kiln.Server.Registry.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Pulling, pushing and deleting manifests and tags: end-3, end-7, end-9 of the distribution-spec.</summary>
internal sealed class ManifestEndpoints(
    Manifests manifests,
    Tags tags,
    ManifestBodies bodies,
    LeasedContent leased,
    WaitingPulls waiting,
    UpstreamTable upstreams,
    CachedManifests cache,
    ServerOptions options,
    IPushTrigger? trigger = null
)
{
    public void Map(V2Router router) =>
        router
            .Map("GET", "{name}/manifests/{}", Need.Pull with { Lease = LeaseUse.Pull }, Get)
            .Map("PUT", "{name}/manifests/{}", Need.Push(AuditActions.ManifestPush) with { Lease = LeaseUse.Push }, Put)
            .Map("DELETE", "{name}/manifests/{}", Need.Delete(AuditActions.ManifestDelete), Delete);

    private Task Get(V2Context context)
    {
        var reference = ManifestReference.Parse(context[0]);
        return upstreams.Of(context.Repository) is { } upstream && leased.MayFetch(context)
            ? GetThroughAsync(context, upstream, reference)
            : GetAsync(context, reference);
    }

    private async Task GetThroughAsync(V2Context context, Upstream upstream, ManifestReference reference)
    {
        var (digest, tag) = (reference.Digest, reference.Tag);
        if (await cache.RefreshAsync(upstream, context.Repository, digest, tag, context.Cancel) is { } warning)
        {
            context.Response.Headers.Warning = warning;
        }

        await GetAsync(context, reference);
    }

    private async Task GetAsync(V2Context context, ManifestReference reference)
    {
        var manifest = (context.IsHead, reference) switch
        {
            _ when context.Caller.Lease is { } lease => leased.Manifest(
                context,
                lease,
                reference.Digest,
                reference.Tag
            ),
            (true, { Digest: { } digest }) => manifests.Head(context.Repository, digest),
            (false, { Digest: { } digest }) => manifests.Get(context.Repository, digest),
            (true, _) => manifests.Head(context.Repository, reference.Tag!),
            (false, _) => manifests.Get(context.Repository, reference.Tag!),
        };
        if (
            manifest is { IsLeaving: true }
            && !await manifests.PromiseAsync(context.Repository, manifest.Digest, context.Cancel)
        )
        {
            manifest = null;
        }

        OciError? instead = null;
        if (manifest is null && reference.Tag is { } tag && context.Caller.Lease is null)
        {
            (manifest, instead) = await waiting.AwaitAsync(context, tag);
        }

        // Not thrown: clients ask for what is not there with every push.
        await (
            manifest is null
                ? OciErrorWriter.WriteAsync(
                    context.Http,
                    instead
                        ?? new OciError(
                            ErrorCodes.ManifestUnknown,
                            $"repository {context.Repository} has no manifest {context[0]}"
                        )
                )
                : WriteAsync(context, manifest)
        );
    }

    // Whatever Accept says: the bytes have one type, and a client that cannot read it says so better than a 406.
    private static async Task WriteAsync(V2Context context, StoredManifest manifest)
    {
        var response = context.Response;
        response.Headers["Docker-Content-Digest"] = manifest.Digest.ToString();
        if (context.IsNotModified(manifest.Digest))
        {
            return;
        }

        response.ContentType = manifest.MediaType;
        response.ContentLength = manifest.Size;
        if (!context.IsHead)
        {
            await response.Body.WriteAsync(manifest.Content, context.Cancel);
        }
    }

    private async Task Put(V2Context context)
    {
        var reference = ManifestReference.Parse(context[0]);
        // "registries SHOULD support … PUT /v2/<name>/manifests/<digest>?tag=1&tag=2" (end-7b)
        var asked = context.Request.Query["tag"].Select(tag => ManifestReference.ParseTag(tag ?? "")).ToList();
        using var body = await bodies.ReadAsync(context);
        if (context.Caller.Lease is { } lease)
        {
            var digest = await leased.PutAsync(
                context,
                lease,
                reference.Digest,
                reference.Tag,
                body.Content,
                ContentType(context.Request)
            );
            context.WriteCreated("manifests", digest);
            return;
        }

        var push = new ManifestPush
        {
            Repository = context.Repository,
            Content = body.Content,
            ContentType = ContentType(context.Request),
            Digest = reference.Digest,
            Tags = [.. (reference.Tag is null ? asked : asked.Prepend(reference.Tag)).Distinct()],
            Precondition = context.Precondition(),
            Principal = context.Principal.Name,
            MayBuild = context.Caller.May(context.Repository, Rights.Build),
            Origin = CalledAddress.Of(context.Http, options),
        };
        var stored = await manifests.PutAsync(push, trigger, context.Cancel);
        var headers = context.Response.Headers;
        if (stored.Push.Manifest.Subject is { } subject)
        {
            headers["OCI-Subject"] = subject.Digest.ToString();
        }

        if (asked.Count > 0)
        {
            headers["OCI-Tag"] = asked.Select(tag => tag.Value).ToArray();
        }

        if (stored.Notice is { } notice)
        {
            headers.Link = notice.Link;
            headers.Warning = notice.Warning;
        }

        context.WriteCreated("manifests", stored.Digest);
    }

    private async Task Delete(V2Context context)
    {
        var reference = ManifestReference.Parse(context[0]);
        await (
            reference.Digest is { } digest
                ? manifests.DeleteAsync(context.Repository, digest, context.Precondition(), context.Cancel)
                : tags.DeleteAsync(context.Repository, reference.Tag!, context.Precondition(), context.Cancel)
        );
        context.Response.StatusCode = StatusCodes.Status202Accepted;
        context.Response.ContentLength = 0;
    }

    private static string? ContentType(HttpRequest request)
    {
        var text = request.ContentType ?? "";
        var semicolon = text.IndexOf(';', StringComparison.Ordinal);
        var type = (semicolon < 0 ? text : text[..semicolon]).Trim();
        // What HTTP clients send when they were told nothing.
        return type is "" or MediaTypes.Json or MediaTypes.OctetStream or "application/x-www-form-urlencoded"
            ? null
            : type;
    }

    private sealed record ManifestReference(Digest? Digest, Tag? Tag)
    {
        public static ManifestReference Parse(string text) =>
            text.Contains(':', StringComparison.Ordinal)
                ? new(V2Context.ParseDigest(text), null)
                : new(null, ParseTag(text));

        public static Tag ParseTag(string text) =>
            Oci.Tag.TryParse(text, out var tag)
                ? tag
                : throw new OciException(
                    ErrorCodes.TagInvalid,
                    $"'{V2Context.Shorten(text)}' is not a tag; use up to 128 letters, digits and . _ -, not starting with . or -"
                );
    }
}
