using System.Data.Common;
using System.Diagnostics;

namespace Kiln.Server.Metadata;

/// <summary>
/// The metadata database: many readers, and one writer at a time, whoever it is of all servers that share the database.
/// Work is written against <see cref="DbConnection"/> and the SQL that SQLite and PostgreSQL share.
/// </summary>
internal abstract class Database : IDisposable
{
    private readonly WriteQueue _queue;
    private volatile Action<string?>? _listeners;

    // The work that runs, and its transaction: one at a time.
    private QueuedWork? _current;
    private DbTransaction? _transaction;

    /// <param name="maxBatch">Works that may share a transaction.</param>
    protected Database(int maxBatch) => _queue = new WriteQueue(Commit, maxBatch);

    /// <summary>
    /// Runs <paramref name="work"/> in a transaction, perhaps with others' work; it is durable when this returns. What it
    /// wrote is undone when it throws. Writers queue up; keep the work short and free of other I/O.
    /// </summary>
    public async Task<T> WriteAsync<T>(Func<DbTransaction, T> work, CancellationToken cancel)
    {
        var queued = new QueuedWork<T>(work, cancel);
        await _queue.RunAsync(queued);
        return queued.Result;
    }

    /// <inheritdoc cref="WriteAsync{T}"/>
    public Task WriteAsync(Action<DbTransaction> work, CancellationToken cancel) =>
        WriteAsync(
            transaction =>
            {
                work(transaction);
                return true;
            },
            cancel
        );

    /// <summary>
    /// Runs <paramref name="action"/> once the work under way in <paramref name="transaction"/> is durable, in the order
    /// of the commits; not at all when it is undone. The next writer waits meanwhile: be brief and do not throw.
    /// </summary>
    public void AfterCommit(DbTransaction transaction, Action action) => Current(transaction).AfterCommit.Add(action);

    /// <summary>
    /// Has <paramref name="hear"/> called after each commit, here or on another server of this database, of work that
    /// called <see cref="Signal"/>, with the topic; with null where signals may have been missed. It must be brief and not
    /// throw.
    /// </summary>
    public void Listen(Action<string?> hear) => _listeners += hear;

    /// <summary>Tells who listens, here and on every server of this database, once the work is durable.</summary>
    /// <param name="topic">Of at most a hundred characters, without a blank.</param>
    public void Signal(DbTransaction transaction, string topic)
    {
        var topics = Current(transaction).Topics;
        if (!topics.Contains(topic, StringComparer.Ordinal))
        {
            topics.Add(topic);
        }
    }

    /// <summary>Runs a query on a pooled connection that sees only what is committed.</summary>
    public abstract T Read<T>(Func<DbConnection, T> work);

    /// <summary>A transaction under way is finished first: it may be somebody's acknowledged push.</summary>
    public void Dispose()
    {
        _queue.CloseAsync().GetAwaiter().GetResult();
        Close();
    }

    /// <summary>Begins a transaction that has the writer to itself.</summary>
    protected abstract DbTransaction Begin();

    /// <summary>Called in a transaction before its commit, with what other servers have to hear of.</summary>
    protected virtual void Announce(DbTransaction transaction, IReadOnlyCollection<string> topics) { }

    /// <summary>Called when a transaction is over.</summary>
    protected virtual void End(DbTransaction transaction) => transaction.Dispose();

    protected abstract void Close();

    protected void Raise(string? topic) => _listeners?.Invoke(topic);

    private QueuedWork Current(DbTransaction transaction)
    {
        Debug.Assert(transaction == _transaction, "only work of WriteAsync has a commit to wait for");
        return _current!;
    }

    private void Commit(IReadOnlyList<QueuedWork> batch)
    {
        var transaction = _transaction = Begin();
        try
        {
            foreach (var work in batch)
            {
                _current = work;
                Run(transaction, work, alone: batch.Count == 1);
            }

            var done = batch.Where(work => work.Fault is null).ToList();
            if (done.Count == 0)
            {
                transaction.Rollback();
                return;
            }

            Announce(transaction, done.SelectMany(work => work.Topics).ToHashSet(StringComparer.Ordinal));
            transaction.Commit();
            foreach (var work in done)
            {
                work.AfterCommit.ForEach(action => action());
                work.Topics.ForEach(Raise);
            }
        }
        finally
        {
            (_transaction, _current) = (null, null);
            End(transaction);
        }
    }

    // Alone, the transaction itself undoes what the work wrote; among others a savepoint does.
    private static void Run(DbTransaction transaction, QueuedWork work, bool alone)
    {
        const string savepoint = "work";
        try
        {
            if (!alone)
            {
                transaction.Save(savepoint);
            }

            work.Run(transaction);
            if (!alone)
            {
                transaction.Release(savepoint);
            }
        }
        catch (Exception e)
        {
            work.Fail(e);
            if (!alone)
            {
                transaction.Rollback(savepoint);
            }
        }
    }
}
