using System.Text.Json;
using Kiln.Client.Administration;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Registry;

namespace Kiln.Server.Http;

/// <summary><c>/admin/v1/quotas</c>: how far each quota is used.</summary>
internal sealed class QuotaEndpoints(QuotaUses uses)
{
    public void Map(V2Router router) =>
        router.Map("GET", "quotas", Need.Admin(AuditActions.Read, recorded: false), List);

    private Task List(V2Context context)
    {
        var list = new QuotaList([.. uses.All().Select(View)]);
        return context.WriteJsonAsync(JsonSerializer.SerializeToUtf8Bytes(list, AdminJson.Default.QuotaList));
    }

    private static QuotaView View(QuotaUse use) =>
        new()
        {
            Repositories = use.Rule.Repositories,
            Bytes = use.Bytes,
            MaxBytes = use.Rule.MaxBytes,
            Tags = use.Tags,
            MaxTags = use.Rule.MaxTags,
            RepositoryCount = use.Repositories,
            MaxRepositories = use.Rule.MaxRepositories,
        };
}
