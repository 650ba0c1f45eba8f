using System.Collections.Concurrent;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Delivery;

/// <summary>
/// Empties the outbox: of each receiver one delivery at a time, so that a slow one waits for itself alone, and of each kind so
/// many receivers at a time, so that those whom users have named keep nothing from those of the operator. Every server does;
/// a delivery is in the hands of one of them.
/// </summary>
internal sealed partial class Deliveries : BackgroundService
{
    // Of each kind.
    private const int MaxReceivers = 16;

    // So many for one receiver, then it is another's turn.
    private const int MaxInARow = 100;
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan LittleRest = TimeSpan.FromSeconds(1);

    private static readonly System.Diagnostics.Metrics.Counter<long> Tried = Meters.Counter(
        "kiln.deliveries",
        "{try}",
        "Tries to tell others what happened, by outcome."
    );

    private readonly Outbox _outbox;
    private readonly OutboxTrim _trim;
    private readonly Sender _sender;
    private readonly IReadOnlyList<IDeliveryTargets> _kinds;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly ConcurrentDictionary<string, Task> _busy = new(StringComparer.Ordinal);
    private TaskCompletionSource _wake = NewWake();

    public Deliveries(
        Outbox outbox,
        OutboxTrim trim,
        Sender sender,
        IEnumerable<IDeliveryTargets> kinds,
        Database database,
        TimeProvider time,
        ILogger<Deliveries> log
    )
    {
        (_outbox, _trim, _sender, _kinds, _time, _log) = (outbox, trim, sender, [.. kinds], time, log);
        database.Listen(topic =>
        {
            if (topic is null or Outbox.Topic)
            {
                Wake();
            }
        });
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            while (true)
            {
                var next = Volatile.Read(ref _wake).Task;
                await WaitAsync(next, await LookAsync(stoppingToken), stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // What is under way is tried again by whoever comes next.
            await Task.WhenAll(_busy.Values);
        }
    }

    // Sets to work whoever has something due.
    /// <returns>How long nothing else is.</returns>
    private async Task<TimeSpan> LookAsync(CancellationToken cancel)
    {
        try
        {
            await _trim.RunAsync(cancel);
            var wait = Rest;
            foreach (var target in _outbox.Waiting().OrderBy(target => target.Due))
            {
                var left = TimeSpan.FromMilliseconds(target.Due - _time.Milliseconds());
                if (left > TimeSpan.Zero)
                {
                    wait = left < wait ? left : wait;
                }
                else if (!_busy.ContainsKey(target.Id) && HasSlot(target.Id))
                {
                    var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                    _busy[target.Id] = done.Task;
                    _ = Task.Run(() => EmptyAsync(target.Id, done, cancel), CancellationToken.None);
                }
            }

            return wait;
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            LogTrouble(_log, e.Message);
            return Rest;
        }
    }

    private bool HasSlot(string target)
    {
        var kind = KindOf(target);
        return _busy.Keys.Count(busy => KindOf(busy) == kind) < MaxReceivers;
    }

    private async Task EmptyAsync(string target, TaskCompletionSource done, CancellationToken cancel)
    {
        try
        {
            for (var i = 0; i < MaxInARow && await SendOneAsync(target, cancel); i++)
            {
                cancel.ThrowIfCancellationRequested();
            }
        }
        catch (Exception e)
        {
            if (!cancel.IsCancellationRequested)
            {
                LogTrouble(_log, e.Message);
                await Task.Delay(LittleRest, _time, CancellationToken.None);
            }
        }
        finally
        {
            _busy.TryRemove(target, out _);
            done.SetResult();
            Wake();
        }
    }

    private async Task<bool> SendOneAsync(string id, CancellationToken cancel)
    {
        if (Find(id) is not { } target)
        {
            await _outbox.ForgetAsync(id, cancel);
            return false;
        }

        if (await _outbox.TakeAsync(id, cancel) is not { } taken)
        {
            return false;
        }

        var outcome = await _sender.SendAsync(target, taken.Id, taken.Body, cancel);
        if (outcome.Error is null)
        {
            var pause = target.PerMinute is { } rate ? TimeSpan.FromMinutes(1) / rate : TimeSpan.Zero;
            await _outbox.DeliveredAsync(taken, pause, CancellationToken.None);
            Count("delivered");
            return pause == TimeSpan.Zero;
        }

        if (outcome.Gone)
        {
            await _outbox.StopAsync(taken, outcome.Error, CancellationToken.None);
            Count("gone");
            LogGone(_log, id);
        }
        else if (await _outbox.FailedAsync(taken, outcome.Error, outcome.RetryAfter, CancellationToken.None))
        {
            Count("given-up");
            LogGivenUp(_log, taken.Id, id, outcome.Error, taken.Attempt);
        }
        else
        {
            Count("failed");
        }

        return false;
    }

    private DeliveryTarget? Find(string id) => KindOf(id)?.Find(id);

    private IDeliveryTargets? KindOf(string id) =>
        _kinds.FirstOrDefault(kind => id.StartsWith(kind.Prefix, StringComparison.Ordinal));

    private static void Count(string outcome) => Tried.Add(1, new KeyValuePair<string, object?>("outcome", outcome));

    private async Task WaitAsync(Task next, TimeSpan wait, CancellationToken cancel)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        await Task.WhenAny(next, Task.Delay(wait, _time, stop.Token));
        await stop.CancelAsync();
        cancel.ThrowIfCancellationRequested();
    }

    private void Wake() => Interlocked.Exchange(ref _wake, NewWake()).TrySetResult();

    private static TaskCompletionSource NewWake() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    [LoggerMessage(Level = LogLevel.Warning, Message = "cannot look for what is to be delivered: {Reason}")]
    private static partial void LogTrouble(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Target} wants no events any more (410)")]
    private static partial void LogGone(ILogger log, string target);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "gave up the delivery {Id} to {Target} after {Attempts} tries: {Reason}"
    )]
    private static partial void LogGivenUp(ILogger log, string id, string target, string reason, int attempts);
}
