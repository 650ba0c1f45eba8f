using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Launchers;

/// <summary>
/// Speaks with the batch system for all builds of a node: one question at a time, with a pause after each, so that a
/// thousand builds ask no oftener than one. Whether a job was taken is always found out before it is submitted again.
/// </summary>
internal sealed partial class BatchDesk(
    IBatchSystem system,
    TimeSpan interval,
    TimeSpan maxWait,
    TimeProvider time,
    ILogger log
)
{
    private const int MaxCancels = 100;
    private const string NotSubmitted = "it was not submitted yet";

    // For how many intervals a batch system may show as waiting what has begun.
    private const int Tardiness = 30;
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan LaterPause = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private readonly List<BatchTicket> _tickets = [];
    private readonly Channel<bool> _wake = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );
    private DateTimeOffset _listed;
    private DateTimeOffset? _awaySince;
    private int _failures;

    public void Add(BatchTicket ticket)
    {
        lock (_lock)
        {
            _tickets.Add(ticket);
        }

        _wake.Writer.TryWrite(true);
    }

    /// <summary>Its job is to be ended. One that is not at the batch system ends at once.</summary>
    public void Cancel(BatchTicket ticket)
    {
        lock (_lock)
        {
            ticket.CancelWanted = true;
            if (ticket is { Job: null, DoubtfulSince: null })
            {
                ticket.Finish(BatchEndKind.Canceled, NotSubmitted);
            }
        }

        _wake.Writer.TryWrite(true);
    }

    /// <summary>Nobody waits for its end any more. A cancel that was asked for, by whomever, is still sent.</summary>
    public void Leave(BatchTicket ticket)
    {
        lock (_lock)
        {
            ticket.Finish(BatchEndKind.Canceled, "");
            if (!IsOwed(ticket))
            {
                _tickets.Remove(ticket);
            }
        }
    }

    // Whether a cancel is still to be sent. Where nobody knows whether there is a job, one list tells.
    private static bool IsOwed(BatchTicket ticket) =>
        ticket is { CancelWanted: true, CancelSent: false }
        && (ticket.Job is not null || ticket.DoubtfulSince is not null);

    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            var (question, due) = Next();
            if (question is null)
            {
                await WaitAsync(due, stop);
                continue;
            }

            var pause = interval;
            try
            {
                await question(stop);
                Answered();
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (BatchAwayException e)
            {
                pause = Away(e.Message);
            }
            catch (Exception e)
            {
                LogFault(log, e);
                pause = Away(e.Message);
            }

            await Task.Delay(pause, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    // What is most urgent, or when to look again. Seeing comes before more submitting when it is overdue.
    private (Func<CancellationToken, Task>? Question, TimeSpan Due) Next()
    {
        lock (_lock)
        {
            var now = time.GetUtcNow();
            _tickets.RemoveAll(t => t.End is not null && !IsOwed(t));
            var cancels = _tickets.Where(t =>
                t is { CancelWanted: true, CancelSent: false, Job: not null } && t.CancelNotBefore <= now
            );
            if (cancels.Take(MaxCancels).ToList() is { Count: > 0 } ended)
            {
                return (stop => CancelAsync(ended, stop), default);
            }

            // What has ended is there for its cancel only, and for a list where that needs one.
            var open = _tickets.FindAll(t => t.End is null || t.DoubtfulSince is not null);
            var known = open.FindAll(t => t.Job is not null || t.DoubtfulSince is not null);
            var every = interval * (known.Exists(t => t.Seen?.State != BatchState.Running) ? 2 : 4);
            var doubt = open.Exists(t => t.DoubtfulSince >= _listed);
            if (known.Count > 0 && (doubt || now - _listed >= every * 2))
            {
                return (stop => ListAsync(known, stop), default);
            }

            if (open.Find(t => t.IsMissing) is { } missing)
            {
                return (stop => LookUpAsync(missing, stop), default);
            }

            var orders = open.FindAll(t => t is { Job: null, DoubtfulSince: null });
            if (orders.Find(t => t.NotBefore <= now) is { } order)
            {
                return (stop => SubmitAsync(order, stop), default);
            }

            return known.Count > 0 && now - _listed >= every
                ? (stop => ListAsync(known, stop), default)
                : (null, known.Count > 0 ? _listed + every - now : interval * 4);
        }
    }

    private async Task SubmitAsync(BatchTicket ticket, CancellationToken stop)
    {
        lock (_lock)
        {
            if (ticket.End is not null)
            {
                return;
            }

            // From here on it may be there, whatever becomes of the answer, and of this process.
            ticket.DoubtfulSince = time.GetUtcNow();
        }

        var answer = await system.SubmitAsync(ticket.Order, stop);
        switch (answer.Kind)
        {
            case SubmissionKind.Accepted:
                LogSubmitted(log, ticket.Order.Name, system.Name, answer.Text, ticket.Order.Shape!.Type.Name);
                ticket.Accept(answer.Text);
                ticket.Say($"{system.Name} job {answer.Text} was submitted");
                break;
            case SubmissionKind.Refused:
                ticket.DoubtfulSince = null;
                ticket.Finish(BatchEndKind.Refused, answer.Text);
                break;
            case SubmissionKind.Later:
                Postpone(ticket, answer.Text);
                break;
            default:
                ticket.DoubtfulSince = time.GetUtcNow();
                throw new BatchAwayException(answer.Text);
        }
    }

    private void Postpone(BatchTicket ticket, string why)
    {
        lock (_lock)
        {
            var now = time.GetUtcNow();
            ticket.DoubtfulSince = null;
            if (ticket.CancelWanted)
            {
                ticket.Finish(BatchEndKind.Canceled, NotSubmitted);
            }
            else if (now - ticket.Begun > maxWait)
            {
                ticket.Finish(BatchEndKind.WaitedTooLong, why);
            }

            ticket.NotBefore = now + LaterPause;
            ticket.Say($"{system.Name} takes no job now: {why}");
        }
    }

    private async Task ListAsync(List<BatchTicket> wanted, CancellationToken stop)
    {
        var asked = time.GetUtcNow();
        // Before it is asked: a job may begin while it answers.
        foreach (var begun in wanted.FindAll(t => t.TakenSince is null && !t.IsUntouched()))
        {
            begun.TakenSince = asked;
        }

        var jobs = new BatchList(await system.ListAsync(wanted, stop));
        lock (_lock)
        {
            _listed = asked;
            foreach (var ticket in wanted)
            {
                if (jobs.Of(ticket) is { } job)
                {
                    ticket.Accept(job.Id);
                    Judge(ticket, job);
                }
                else if (ticket.Job is not null)
                {
                    ticket.IsMissing = true;
                }
                else
                {
                    Settle(ticket);
                }
            }
        }
    }

    // It was not taken, as is known now: it is submitted again, unless there is a reason why not.
    private static void Settle(BatchTicket ticket)
    {
        ticket.DoubtfulSince = null;
        if (!ticket.IsUntouched())
        {
            ticket.Finish(BatchEndKind.Lost, "");
        }
        else if (ticket.CancelWanted)
        {
            ticket.Finish(BatchEndKind.Canceled, NotSubmitted);
        }
        else if (ticket.Order.Shape is null)
        {
            ticket.Finish(BatchEndKind.Lost, ticket.Order.Unsubmittable);
        }
    }

    private async Task LookUpAsync(BatchTicket ticket, CancellationToken stop)
    {
        var job = await system.LookUpAsync(ticket, stop);
        lock (_lock)
        {
            ticket.IsMissing = false;
            if (job is null)
            {
                ticket.Finish(BatchEndKind.Lost, "");
            }
            else
            {
                Judge(ticket, job);
            }
        }
    }

    private async Task CancelAsync(List<BatchTicket> tickets, CancellationToken stop)
    {
        try
        {
            await system.CancelAsync([.. tickets.Select(t => t.Job!)], stop);
        }
        catch (BatchAwayException)
        {
            // One that cannot be cancelled must not keep all others from being seen and submitted.
            lock (_lock)
            {
                tickets.ForEach(t => t.CancelNotBefore = time.GetUtcNow() + LaterPause);
            }

            throw;
        }

        lock (_lock)
        {
            tickets.ForEach(t => t.CancelSent = true);
        }
    }

    private void Judge(BatchTicket ticket, BatchJob job)
    {
        var now = time.GetUtcNow();
        // What was taken a while before the batch system was asked has run, also where no look has seen it.
        var hadRun = ticket.HasRun || _listed - ticket.TakenSince >= interval * Tardiness;
        ticket.See(job, now);
        var why = job.Reason.Length == 0 ? "" : $": {job.Reason}";
        var what = $"{system.Name} job {job.Id}";
        switch (job.State)
        {
            case BatchState.Requeued:
            case BatchState.Pending when hadRun:
                ticket.CancelWanted = true;
                ticket.Finish(BatchEndKind.Requeued, job.Reason);
                break;
            case BatchState.Pending when now - ticket.Begun > maxWait:
                ticket.CancelWanted = true;
                ticket.Finish(BatchEndKind.WaitedTooLong, job.Reason);
                break;
            case BatchState.Pending:
                ticket.Say($"{what} waits{why}");
                break;
            case BatchState.Running:
                ticket.Say($"{what} runs{(job.Node.Length == 0 ? "" : $" on {job.Node}")}");
                break;
            default:
                ticket.Finish(BatchEnds.KindOf(job.State), job.Reason);
                break;
        }
    }

    private TimeSpan Away(string message)
    {
        if (_awaySince is null)
        {
            _awaySince = time.GetUtcNow();
            LogAway(log, system.Name, message);
        }

        lock (_lock)
        {
            foreach (var ticket in _tickets.Where(t => t is { End: null } && t.Seen?.State != BatchState.Running))
            {
                var job = ticket.Job is null ? "" : $"; job {ticket.Job} waited when it last did";
                ticket.Say($"{system.Name} does not answer since {_awaySince:HH:mm:ss} UTC{job}: {message}");
            }
        }

        _failures = Math.Min(_failures + 1, 10);
        var pause = interval * (1 << _failures);
        return pause < LongestPause ? pause
            : interval < LongestPause ? LongestPause
            : interval;
    }

    private void Answered()
    {
        if (_awaySince is not null)
        {
            LogBack(log, system.Name);
        }

        (_awaySince, _failures) = (null, 0);
    }

    private async Task WaitAsync(TimeSpan due, CancellationToken stop)
    {
        using var over = new CancellationTokenSource(due > TimeSpan.Zero ? due : TimeSpan.FromMilliseconds(1), time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, over.Token);
        try
        {
            await _wake.Reader.ReadAsync(either.Token);
        }
        catch (OperationCanceledException)
        {
            // It is time to look, or to stop.
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "{Name} is {System} job {Job}, type {Type}")]
    private static partial void LogSubmitted(ILogger log, string name, string system, string job, string type);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{System} does not answer: {Why}")]
    private static partial void LogAway(ILogger log, string system, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "{System} answers again")]
    private static partial void LogBack(ILogger log, string system);

    [LoggerMessage(Level = LogLevel.Error, Message = "A question to the batch system met a fault")]
    private static partial void LogFault(ILogger log, Exception exception);
}
