using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Registry;

namespace Kiln.Server.Http;

/// <summary>Listing repositories: not in the distribution-spec, but what clients of Docker's registry ask for.</summary>
internal sealed class CatalogEndpoints(Repositories repositories)
{
    public void Map(V2Router router) => router.Map("GET", "_catalog", Need.Catalog, List);

    private Task List(V2Context context)
    {
        var limit = Math.Min(context.PageSize() ?? V2Context.MaxPage, V2Context.MaxPage);
        var page = repositories.List(context.Query("last"), limit, context.Caller.MayList);
        if (page.More && page.Items.Count > 0)
        {
            context.SetNext("/v2/_catalog", ("n", $"{limit}"), ("last", page.Items[^1]));
        }

        var list = new RepositoryList(page.Items);
        return context.WriteJsonAsync(JsonSerializer.SerializeToUtf8Bytes(list, OciJson.Default.RepositoryList));
    }
}
