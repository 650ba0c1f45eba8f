using System.Runtime.ExceptionServices;

namespace Kiln.Server.Metadata;

/// <summary>
/// Lines writers up and lets those who wait share a transaction: whoever comes to a free queue runs its work at once, on
/// its own thread; who comes meanwhile waits, and the first of them then runs what has gathered in one transaction. The
/// disk is asked once for all of them, and each is answered only after that.
/// </summary>
/// <param name="commit">Runs the works of a batch in one transaction; those that failed carry a fault afterwards.</param>
/// <param name="maxBatch">Works in a transaction at most.</param>
internal sealed class WriteQueue(Action<IReadOnlyList<QueuedWork>> commit, int maxBatch)
{
    private readonly Lock _lock = new();
    private readonly Queue<QueuedWork> _waiting = new();
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _busy;
    private bool _closed;

    /// <summary>Runs <paramref name="work"/> with what else waits; it is durable when this returns.</summary>
    public async Task RunAsync(QueuedWork work)
    {
        if (Enter(work) || await work.Turn)
        {
            Lead(work);
        }

        if (work.Fault is { } fault)
        {
            ExceptionDispatchInfo.Throw(fault);
        }
    }

    /// <summary>Takes no more work, and ends when what was taken is done.</summary>
    public Task CloseAsync()
    {
        lock (_lock)
        {
            _closed = true;
            return _busy ? _idle.Task : Task.CompletedTask;
        }
    }

    private bool Enter(QueuedWork work)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_closed, typeof(Database));
            if (_busy)
            {
                _waiting.Enqueue(work);
                return false;
            }

            return _busy = true;
        }
    }

    private void Lead(QueuedWork first)
    {
        var batch = Gather(first);
        try
        {
            commit(batch);
        }
        catch (Exception e)
        {
            // Nothing of the transaction is there, whoever's fault it was.
            batch.ForEach(work => work.Fail(e));
        }
        finally
        {
            HandOver();
        }

        batch.ForEach(work => work.Done());
    }

    private List<QueuedWork> Gather(QueuedWork first)
    {
        var batch = new List<QueuedWork> { first };
        lock (_lock)
        {
            while (batch.Count < maxBatch && _waiting.TryDequeue(out var next))
            {
                batch.Add(next);
            }
        }

        return batch;
    }

    private void HandOver()
    {
        lock (_lock)
        {
            if (_waiting.TryDequeue(out var next))
            {
                next.Lead();
                return;
            }

            _busy = false;
            if (_closed)
            {
                _idle.TrySetResult();
            }
        }
    }
}
