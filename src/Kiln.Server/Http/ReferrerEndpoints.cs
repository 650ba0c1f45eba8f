using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Registry;

namespace Kiln.Server.Http;

/// <summary>Listing referrers (distribution-spec, "Listing Referrers"): end-12.</summary>
internal sealed class ReferrerEndpoints(Referrers referrers)
{
    public void Map(V2Router router) => router.Map("GET", "{name}/referrers/{}", Need.Pull, List);

    // "If … the registry supports the referrers API, the registry MUST NOT return a 404 Not Found".
    private Task List(V2Context context)
    {
        var subject = context.DigestAt(0);
        var artifactType = context.Query("artifactType") is { Length: > 0 } type ? type : null;
        var page = referrers.List(context.Repository, subject, artifactType, context.Query("last"));
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

        return context.WriteJsonAsync(page.Index, MediaTypes.OciIndex);
    }
}
