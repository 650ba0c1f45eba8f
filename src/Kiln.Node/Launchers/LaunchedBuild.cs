using Kiln.BuildSpec;
using Kiln.Client;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Launchers;

/// <summary>
/// One build at a batch system, as the node that submitted it lives through it. While the job waits, the lease's heartbeats
/// come from here; once it runs, it speaks for itself, and what comes from here only bridges the time to its first word.
/// Where it ends without having told the registry, this tells.
/// </summary>
internal sealed partial class LaunchedBuild(
    LaunchFolder folder,
    BatchTicket ticket,
    BatchDesk desk,
    IBuildCoordinator coordinator,
    string system,
    TimeProvider time,
    ILogger log
)
{
    // With a batch system that is away nobody knows whether a job that ran still does: it has to say so itself.
    private static readonly TimeSpan Trust = TimeSpan.FromMinutes(1);

    // How long a job has to end by itself once its lease is over, or to be seen ended once it was cancelled.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan RegistryPause = TimeSpan.FromSeconds(2);

    private readonly Lease _lease = folder.Record.Lease;
    private DateTimeOffset? _canceled;
    private string? _told;

    /// <summary>Lives through it to its end; with <paramref name="stop"/> the job goes on, and is found again.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        desk.Add(ticket);
        try
        {
            if (await WatchAsync(stop))
            {
                await SettleAsync(stop);
            }
        }
        catch (LeaseLostException)
        {
            await LingerAsync(stop);
        }

        if (!stop.IsCancellationRequested)
        {
            desk.Leave(ticket);
            folder.Remove();
        }
    }

    // True where the job is over, or is to count as such.
    private async Task<bool> WatchAsync(CancellationToken stop)
    {
        var beat = TimeSpan.FromSeconds(_lease.HeartbeatSeconds);
        while (!stop.IsCancellationRequested)
        {
            var now = time.GetUtcNow();
            if (ticket.End is not null || now - _canceled > Grace)
            {
                return true;
            }

            if (IsMine(now))
            {
                await BeatAsync(now, stop);
            }

            await ticket.ChangedAsync(beat, time, stop);
        }

        return false;
    }

    private bool IsMine(DateTimeOffset now) =>
        ticket.Seen?.State != BatchState.Running || now - ticket.Confirmed < Trust;

    private async Task BeatAsync(DateTimeOffset now, CancellationToken stop)
    {
        var runs = ticket.HasRun;
        var said = ticket.Said;
        var news = said != _told;
        try
        {
            var reply = await coordinator.HeartbeatAsync(
                _lease,
                new LeaseHeartbeat
                {
                    // Once it runs, the phases are the job's to tell.
                    Phase = runs ? null : BuildPhases.Scheduled,
                    Progress = news || !runs ? said : null,
                },
                stop
            );
            _told = said;
            if (reply.Canceled && _canceled is null)
            {
                _canceled = now;
                desk.Cancel(ticket);
            }
        }
        catch (Exception e) when (e is RegistryException or HttpRequestException)
        {
            LogUnsaid(log, _lease.Execution, e.Message);
        }
    }

    // Whether the job has told of its end, only the registry knows: then the lease is over.
    private async Task SettleAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                var reply = await coordinator.HeartbeatAsync(_lease, new LeaseHeartbeat(), stop);
                var canceled = reply.Canceled || _canceled is not null;
                var end = ticket.End ?? new BatchEnd(BatchEndKind.Canceled, "", ticket.Seen);
                var result = BatchEnds.ResultOf(end, ticket, system, folder.Tail(), canceled);
                LogEnd(log, _lease.Execution, result.State, result.Message ?? "the registry wanted it ended");
                await coordinator.CompleteAsync(_lease, result, stop);
                return;
            }
            catch (RegistryException e) when (e.Code == BuildErrors.StateInvalid.Code)
            {
                // Its own word came in between.
                return;
            }
            catch (RegistryException e)
            {
                LogUnsaid(log, _lease.Execution, e.Message);
                await Task.Delay(RegistryPause, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    // The lease is over: mostly because the job has told of its end. One that does not end is of no use to anybody.
    private async Task LingerAsync(CancellationToken stop)
    {
        var since = time.GetUtcNow();
        while (ticket.End is null && !stop.IsCancellationRequested)
        {
            if (!ticket.CancelWanted && (!ticket.HasRun && IsStillWaiting() || time.GetUtcNow() - since > Grace))
            {
                desk.Cancel(ticket);
            }

            if (time.GetUtcNow() - since > Grace * 3)
            {
                return;
            }

            await ticket.ChangedAsync(Grace / 10, time, stop);
        }
    }

    // A short job may begin and end between two looks at the batch system: whether it has begun, its hand-over tells.
    private bool IsStillWaiting() => ticket.IsUntouched();

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Build {Execution} could not be told of; it is tried again: {Why}"
    )]
    private static partial void LogUnsaid(ILogger log, string execution, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Build {Execution} {State}: {Message}")]
    private static partial void LogEnd(ILogger log, string execution, string state, string message);
}
