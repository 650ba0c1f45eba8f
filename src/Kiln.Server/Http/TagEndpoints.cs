using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Registry;

namespace Kiln.Server.Http;

/// <summary>Listing tags (distribution-spec, "Listing Tags"): end-8.</summary>
internal sealed class TagEndpoints(Tags tags)
{
    public void Map(V2Router router) => router.Map("GET", "{name}/tags/list", Need.Pull, List);

    private Task List(V2Context context)
    {
        var limit = context.PageSize();
        var page =
            tags.List(context.Repository, context.Query("last"), limit)
            ?? throw new OciException(ErrorCodes.NameUnknown, $"there is no repository {context.Repository}");
        // "If … the value of n is zero, this endpoint MUST return an empty list and MUST NOT include a Link header."
        if (page.More && page.Items.Count > 0)
        {
            context.SetNext($"/v2/{context.Repository}/tags/list", ("n", $"{limit}"), ("last", page.Items[^1]));
        }

        var list = new TagList(context.Repository.Value, page.Items);
        return context.WriteJsonAsync(JsonSerializer.SerializeToUtf8Bytes(list, OciJson.Default.TagList));
    }
}
