using System.Data.Common;
using System.Diagnostics;
using Kiln.Oci;
using Kiln.Server.Metering;

namespace Kiln.Server.Metadata;

/// <summary>
/// The metadata database. Transactions have an effect as if they came one after another, whoever their callers are of all
/// servers that share the database. Work is written against <see cref="DbConnection"/> and the SQL that SQLite and
/// PostgreSQL share.
/// </summary>
internal abstract class Database : IDisposable
{
    private volatile Action<string?>? _listeners;

    /// <summary>Whether other servers may work on the same database.</summary>
    public virtual bool IsShared => false;

    /// <summary>
    /// Runs <paramref name="work"/> in a transaction; it is durable when this returns, and what it wrote is undone when it
    /// throws. It may run more than once before that, so that it changes nothing but the database
    /// (<see cref="AfterCommit"/>); it is short and does no other I/O.
    /// </summary>
    public async Task<T> WriteAsync<T>(Func<DbTransaction, T> work, CancellationToken cancel)
    {
        var queued = new QueuedWork<T>(work, cancel);
        var start = Stopwatch.GetTimestamp();
        using var span = Meters.Traces.StartActivity("database write");
        await RunAsync(queued, cancel);
        Meters.DatabaseWrites.Record(Meters.SecondsSince(start));
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
    /// Runs <paramref name="action"/> once the work under way in <paramref name="transaction"/> is durable; not at all when
    /// it is undone. Others may wait meanwhile: be brief and do not throw. With SQLite in the order of the commits.
    /// </summary>
    public void AfterCommit(DbTransaction transaction, Action action) =>
        QueuedWork.Current(transaction).AfterCommit.Add(action);

    /// <summary>
    /// Runs a part of the work under way in <paramref name="transaction"/> that may be refused by itself: what it wrote and
    /// what was to happen after the commit is undone before the refusal is thrown on. Any other exception undoes all of the work.
    /// </summary>
    public T Attempt<T>(DbTransaction transaction, Func<T> part)
    {
        const string savepoint = "part";
        var work = QueuedWork.Current(transaction);
        var before = (work.AfterCommit.Count, work.Topics.Count);
        transaction.Save(savepoint);
        try
        {
            var result = part();
            transaction.Release(savepoint);
            return result;
        }
        catch (OciException)
        {
            transaction.Rollback(savepoint);
            transaction.Release(savepoint);
            work.BackTo(before);
            throw;
        }
    }

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
        var topics = QueuedWork.Current(transaction).Topics;
        if (!topics.Contains(topic, StringComparer.Ordinal))
        {
            topics.Add(topic);
        }
    }

    /// <summary>Runs a query on a pooled connection that sees only what is committed.</summary>
    public abstract T Read<T>(Func<DbConnection, T> work);

    /// <summary>As <see cref="Read"/>; all of its queries see the same state.</summary>
    public T ReadAtOnce<T>(Func<DbConnection, T> work) =>
        Read(connection =>
        {
            connection.Run(BeginReading);
            try
            {
                return work(connection);
            }
            finally
            {
                connection.Run("COMMIT");
            }
        });

    /// <summary>Begins a transaction that reads one state.</summary>
    protected virtual string BeginReading => "BEGIN";

    /// <summary>A transaction under way is finished first: it may be somebody's acknowledged push.</summary>
    public abstract void Dispose();

    /// <summary>Runs a caller's work; throws what it threw.</summary>
    protected abstract Task RunAsync(QueuedWork work, CancellationToken cancel);

    /// <summary>What was to happen after the work's commit.</summary>
    protected void Conclude(QueuedWork work)
    {
        work.AfterCommit.ForEach(action => action());
        work.Topics.ForEach(Raise);
    }

    protected void Raise(string? topic) => _listeners?.Invoke(topic);
}
