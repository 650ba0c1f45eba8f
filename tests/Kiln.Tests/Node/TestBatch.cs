using System.Collections.Concurrent;
using System.Diagnostics;
using Kiln.Node.Launchers;

namespace Kiln.Tests.Node;

/// <summary>A batch system that does what the test says, and notes how often it is asked.</summary>
internal sealed class TestBatch : IBatchSystem
{
    private readonly ConcurrentDictionary<string, BatchJob> _jobs = new();
    private readonly ConcurrentQueue<string> _names = new();
    private long? _ended;
    private int _next = 100;

    /// <summary>What becomes of a submission; null where it becomes a job that waits.</summary>
    public Func<BatchOrder, Submission>? Submit { get; set; }

    /// <summary>Why it does not answer; null where it does. Submissions are another matter.</summary>
    public string? Away { get; set; }

    /// <summary>Why it cancels nothing; null where it does.</summary>
    public string? CancelFault { get; set; }

    /// <summary>What can be looked up of jobs that are in no list.</summary>
    public ConcurrentDictionary<string, BatchJob> Later { get; } = new();
    public ConcurrentBag<string> Canceled { get; } = [];

    /// <summary>The time between the end of each question and the beginning of the next.</summary>
    public ConcurrentQueue<TimeSpan> Pauses { get; } = new();
    public IReadOnlyList<string> Names => [.. _names];
    public int Submissions => _names.Count;
    public string Name => "test";

    public void Put(string id, string name, BatchState state, string reason) =>
        _jobs[id] = new BatchJob(id, name, state, state.ToString(), reason, "");

    public void Clear() => _jobs.Clear();

    public Task<string?> UnavailableAsync(CancellationToken cancel) => Task.FromResult<string?>(null);

    public async Task<Submission> SubmitAsync(BatchOrder order, CancellationToken cancel)
    {
        await AskedAsync(cancel);
        _names.Enqueue(order.Name);
        if (Submit is { } submit)
        {
            return submit(order);
        }

        var id = Interlocked.Increment(ref _next).ToString(System.Globalization.CultureInfo.InvariantCulture);
        Put(id, order.Name, BatchState.Pending, "");
        return new Submission(SubmissionKind.Accepted, id);
    }

    public async Task<IReadOnlyList<BatchJob>> ListAsync(IReadOnlyList<BatchTicket> wanted, CancellationToken cancel)
    {
        await AskedAsync(cancel);
        return Away is { } why ? throw new BatchAwayException(why) : [.. _jobs.Values];
    }

    public async Task<BatchJob?> LookUpAsync(BatchTicket ticket, CancellationToken cancel)
    {
        await AskedAsync(cancel);
        return Later.GetValueOrDefault(ticket.Job!);
    }

    public async Task CancelAsync(IReadOnlyList<string> jobs, CancellationToken cancel)
    {
        await AskedAsync(cancel);
        if (CancelFault is { } why)
        {
            throw new BatchAwayException(why);
        }

        foreach (var job in jobs)
        {
            Canceled.Add(job);
            if (_jobs.TryGetValue(job, out var there))
            {
                _jobs[job] = there with { State = BatchState.Canceled };
            }
        }
    }

    private async Task AskedAsync(CancellationToken cancel)
    {
        if (_ended is { } ended)
        {
            Pauses.Enqueue(Stopwatch.GetElapsedTime(ended));
        }

        await Task.Delay(1, cancel);
        _ended = Stopwatch.GetTimestamp();
    }
}
