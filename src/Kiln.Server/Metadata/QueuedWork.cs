using System.Data.Common;
using System.Diagnostics;

namespace Kiln.Server.Metadata;

/// <summary>One caller's part of a transaction: what it does, what is to happen after the commit, how it came out.</summary>
internal abstract class QueuedWork(CancellationToken cancel)
{
    // Work is synchronous.
    [ThreadStatic]
    private static QueuedWork? _current;

    private readonly TaskCompletionSource<bool> _turn = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>What happens once the work is durable, in order.</summary>
    public List<Action> AfterCommit { get; } = [];

    /// <summary>Who is to be woken once the work is durable.</summary>
    public List<string> Topics { get; } = [];

    /// <summary>Why the work is not done; null while nothing speaks against it.</summary>
    public Exception? Fault { get; private set; }

    private DbTransaction? Transaction { get; set; }

    /// <summary>Ends when it is this caller's turn to run a transaction (true), or when its work is done (false).</summary>
    public Task<bool> Turn => _turn.Task;

    public void Lead() => _turn.TrySetResult(true);

    public void Done() => _turn.TrySetResult(false);

    /// <summary>Forgets what came to <see cref="AfterCommit"/> and <see cref="Topics"/> since they had so many.</summary>
    public void BackTo((int Actions, int Topics) before)
    {
        AfterCommit.RemoveRange(before.Actions, AfterCommit.Count - before.Actions);
        Topics.RemoveRange(before.Topics, Topics.Count - before.Topics);
    }

    public void Fail(Exception fault) => Fault ??= fault;

    /// <summary>Does the work, unless its caller has gone away. What an earlier try left is forgotten.</summary>
    public void Run(DbTransaction transaction)
    {
        cancel.ThrowIfCancellationRequested();
        AfterCommit.Clear();
        Topics.Clear();
        (Fault, Transaction) = (null, transaction);
        _current = this;
        try
        {
            Execute(transaction);
        }
        finally
        {
            (_current, Transaction) = (null, null);
        }
    }

    /// <summary>The work that this thread does in a transaction.</summary>
    public static QueuedWork Current(DbTransaction transaction)
    {
        Debug.Assert(transaction == _current?.Transaction, "only work of WriteAsync has a commit to wait for");
        return _current!;
    }

    protected abstract void Execute(DbTransaction transaction);
}

/// <inheritdoc/>
internal sealed class QueuedWork<T>(Func<DbTransaction, T> work, CancellationToken cancel) : QueuedWork(cancel)
{
    /// <summary>What the work returned; only after it is durable.</summary>
    public T Result { get; private set; } = default!;

    protected override void Execute(DbTransaction transaction) => Result = work(transaction);
}
