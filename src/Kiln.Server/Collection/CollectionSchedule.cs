using Kiln.Client.Administration;
using Kiln.Server.Metadata;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Collection;

/// <summary>
/// Collects now and then. Of the servers that share a database, the one does whose turn it is first.
/// </summary>
internal sealed partial class CollectionSchedule(
    Collector collector,
    Database database,
    ServerOptions options,
    TimeProvider time,
    ILogger<CollectionSchedule> log
) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var settings = options.Collection;
        if (!settings.Enabled)
        {
            return;
        }

        try
        {
            await Task.Delay(settings.FirstAfter, time, stoppingToken);
            using var timer = new PeriodicTimer(settings.Interval, time);
            do
            {
                await CollectAsync(stoppingToken);
            } while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops; what was begun is ended by the next collection.
        }
    }

    // Whatever goes wrong in one, the next tries again: no content, however odd, may end the registry.
    private async Task CollectAsync(CancellationToken cancel)
    {
        try
        {
            if (await IsTurnAsync(cancel))
            {
                var summary = await collector.RunAsync(dryRun: false, _ => ValueTask.CompletedTask, cancel);
                if (summary.Counts.FirstOrDefault(c => c.Action == CollectionActions.Failed) is { } failed)
                {
                    LogSomeFailed(log, failed.Count, failed.Kind);
                }

                if (summary.Counts.Where(c => c.Action == CollectionActions.Deleted).ToList() is { Count: > 0 } deleted)
                {
                    LogDone(
                        log,
                        string.Join(", ", deleted.Select(c => $"{c.Count} of kind {c.Kind}")),
                        deleted.Where(c => c.Kind == CollectionKinds.Blob).Sum(c => c.Bytes),
                        summary.Seconds
                    );
                }
            }
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            LogFailed(log, e);
        }
    }

    // Nearly an interval ago: timers of servers are never quite together.
    private Task<bool> IsTurnAsync(CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
                transaction.Run(
                    "UPDATE collection_clock SET started = @now WHERE id = 1 AND started <= @before",
                    ("now", time.Milliseconds()),
                    ("before", (time.GetUtcNow() - (options.Collection.Interval * 0.9)).ToUnixTimeMilliseconds())
                ) > 0,
            cancel
        );

    [LoggerMessage(Level = LogLevel.Information, Message = "collected {What}; {Bytes} bytes are free, in {Seconds} s")]
    private static partial void LogDone(ILogger log, string what, long bytes, double seconds);

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "{Count} of kind {Kind} could not be deleted; each collection tries again, and kiln gc says why"
    )]
    private static partial void LogSomeFailed(ILogger log, long count, string kind);

    [LoggerMessage(Level = LogLevel.Error, Message = "a garbage collection broke off; the next one goes on")]
    private static partial void LogFailed(ILogger log, Exception exception);
}
