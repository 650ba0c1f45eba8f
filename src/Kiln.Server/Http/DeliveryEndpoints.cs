using System.Text.Json;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Delivery;

namespace Kiln.Server.Http;

/// <summary><c>/admin/v1/deliveries</c>: what is to be told to whom, and what was given up.</summary>
internal sealed class DeliveryEndpoints(OutboxView outbox)
{
    public void Map(V2Router router) =>
        router
            .Map("GET", "deliveries", Need.Admin(AuditActions.Read, recorded: false), List)
            .Map("POST", "deliveries/{}", Need.Admin(AuditActions.DeliveryRetry), Retry);

    private Task List(V2Context context) =>
        context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(new DeliveryList(outbox.All()), AdminJson.Default.DeliveryList)
        );

    private async Task Retry(V2Context context)
    {
        var count =
            await outbox.RetryAsync(context[0], context.Cancel)
            ?? throw new OciException(
                ErrorCodes.Unsupported,
                $"there is no receiver '{V2Context.Shorten(context[0])}'; GET /admin/v1/deliveries lists them"
            );
        await context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(new DeliveryRetry(count), AdminJson.Default.DeliveryRetry)
        );
    }
}
