using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Registry;
using Kiln.Server.Registry.Upstreams;

namespace Kiln.Server.Http;

/// <summary>Listing referrers (distribution-spec, "Listing Referrers"): end-12.</summary>
internal sealed class ReferrerEndpoints(Referrers referrers, UpstreamTable upstreams, CachedLists cache)
{
    public void Map(V2Router router) => router.Map("GET", "{name}/referrers/{}", Need.Pull, List);

    // "If … the registry supports the referrers API, the registry MUST NOT return a 404 Not Found".
    private async Task List(V2Context context)
    {
        var subject = context.DigestAt(0);
        var artifactType = context.Query("artifactType") is { Length: > 0 } type ? type : null;
        var last = context.Query("last");
        var page = upstreams.Of(context.Repository) is { } upstream
            ? await PageAsync(context, upstream, subject, artifactType, last)
            : referrers.List(context.Repository, subject, artifactType, last);
        if (artifactType is not null)
        {
            context.Response.Headers["OCI-Filters-Applied"] = "artifactType";
        }

        if (page.Next is { } next)
        {
            context.SetNext(
                $"/v2/{context.Repository}/referrers/{subject}",
                ("artifactType", artifactType),
                ("last", next)
            );
        }

        await context.WriteJsonAsync(page.Index, MediaTypes.OciIndex);
    }

    private async Task<ReferrerPage> PageAsync(
        V2Context context,
        Upstream upstream,
        Digest subject,
        string? artifactType,
        string? last
    )
    {
        var (page, warning) = await cache.ReferrersAsync(
            upstream,
            context.Repository,
            subject,
            artifactType,
            last,
            context.Cancel
        );
        context.Response.Headers.Warning = warning;
        return page;
    }
}
