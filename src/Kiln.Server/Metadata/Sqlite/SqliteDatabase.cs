using System.Collections.Concurrent;
using System.Data.Common;
using Microsoft.Data.Sqlite;

namespace Kiln.Server.Metadata.Sqlite;

/// <summary>The database as a file of this server alone.</summary>
internal sealed class SqliteDatabase : Database
{
    // What waits while the disk syncs is not many; the bound keeps one slow work from holding up all the others' answers.
    private const int MaxBatch = 64;

    private readonly string _connectionString;
    private readonly Durability _durability;
    private readonly PreparedConnection _writer;
    private readonly WriteQueue _queue;
    private readonly Checkpoints _checkpoints;

    // As many as ever read at one time. A pool of our own, since the driver's would ask for the pragmas anew each time.
    private readonly ConcurrentBag<PreparedConnection> _readers = [];

    static SqliteDatabase() => SQLitePCL.Batteries_V2.Init();

    /// <summary>Opens the database, creates it where it is absent, and brings its schema up to date.</summary>
    public SqliteDatabase(string path, Durability durability = Durability.Full)
    {
        _durability = durability;
        _connectionString = new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString();
        _writer = Open();
        _queue = new WriteQueue(Commit, MaxBatch);
        using (var transaction = Begin())
        {
            MigrationFiles.Apply(transaction, "sqlite");
            transaction.Commit();
        }

        _writer.Run("PRAGMA wal_autocheckpoint=0");
        _checkpoints = new Checkpoints(Open());
    }

    public override T Read<T>(Func<DbConnection, T> work)
    {
        var connection = _readers.TryTake(out var idle) ? idle : Open();
        try
        {
            return work(connection);
        }
        finally
        {
            _readers.Add(connection);
        }
    }

    public override void Dispose()
    {
        _queue.CloseAsync().GetAwaiter().GetResult();
        _checkpoints.Dispose();
        foreach (var reader in _readers)
        {
            reader.Dispose();
        }

        _writer.Dispose();
    }

    protected override Task RunAsync(QueuedWork work, CancellationToken cancel) => _queue.RunAsync(work);

    private SqliteTransaction Begin() => _writer.BeginTransaction(deferred: false);

    private void Commit(IReadOnlyList<QueuedWork> batch)
    {
        using var transaction = Begin();
        foreach (var work in batch)
        {
            Run(transaction, work, alone: batch.Count == 1);
        }

        var done = batch.Where(work => work.Fault is null).ToList();
        if (done.Count == 0)
        {
            transaction.Rollback();
            return;
        }

        transaction.Commit();
        _checkpoints.Committed();
        done.ForEach(Conclude);
    }

    // Alone, the transaction itself undoes what the work wrote; among others a savepoint does.
    private static void Run(SqliteTransaction transaction, QueuedWork work, bool alone)
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

    private PreparedConnection Open()
    {
        var connection = new PreparedConnection(_connectionString);
        connection.Open();
        // FULL: a commit is on disk when it returns, which is what "acknowledged" means here. NORMAL syncs before it checkpoints:
        // a power cut costs the last commits, and leaves the database whole.
        var synchronous = _durability == Durability.Full ? "FULL" : "NORMAL";
        connection.Run(
            $"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=10000;"
        );
        return connection;
    }
}
