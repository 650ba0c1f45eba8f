using System.Text.Json;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Collection;

namespace Kiln.Server.Http;

/// <summary>
/// <c>/admin/v1/gc</c>: garbage collection asked for; the answer is a line of JSON for each thing, as it happens, and at last
/// a summary.
/// </summary>
internal sealed class CollectionEndpoints(Collector collector)
{
    private const string Lines = "application/x-ndjson";

    public void Map(V2Router router) =>
        router
            .Map("GET", "gc", Need.Admin(AuditActions.Read, recorded: false), Status)
            .Map("POST", "gc", Need.Admin(AuditActions.Collect), Run);

    private Task Status(V2Context context) =>
        context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(collector.Status, AdminJson.Default.CollectionStatus)
        );

    // A client that goes away ends it: what is done is done, and the rest waits for the next.
    private async Task Run(V2Context context)
    {
        var dryRun = context.Query("dry-run") is not (null or "0" or "false");
        try
        {
            var summary = await collector.RunAsync(dryRun, line => WriteAsync(context, line), context.Cancel);
            await WriteAsync(context, new CollectionLine { Summary = summary });
        }
        catch (Exception e) when (context.Response.HasStarted && !context.Cancel.IsCancellationRequested)
        {
            // Too late for a status: the line is the answer.
            var why = e is OciException refused ? refused.Error.Message : "it broke off; the server's log says why";
            await WriteAsync(context, new CollectionLine { Error = why });
            throw;
        }
    }

    private static async ValueTask WriteAsync(V2Context context, CollectionLine line)
    {
        if (!context.Response.HasStarted)
        {
            context.Response.ContentType = Lines;
        }

        var body = context.Response.Body;
        await body.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(line, AdminJson.Default.CollectionLine));
        await body.WriteAsync("\n"u8.ToArray(), context.Cancel);
    }
}
