using System.Collections.Concurrent;
using System.Data.Common;
using System.Diagnostics;
using System.Reflection;
using Microsoft.Data.Sqlite;

namespace Kiln.Server.Metadata;

/// <summary>
/// The metadata database: many readers, one writer. Work is written against <see cref="DbConnection"/> and the SQL that
/// SQLite and PostgreSQL share, so that the second can take the first's place.
/// </summary>
internal sealed class Database : IDisposable
{
    private readonly string _connectionString;
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly SqliteConnection _writer;
    private readonly List<Action> _afterCommit = [];

    // As many as ever read at one time. A pool of our own, since the driver's would ask for the pragmas anew each time.
    private readonly ConcurrentBag<SqliteConnection> _readers = [];

    static Database() => SQLitePCL.Batteries_V2.Init();

    private Database(string path)
    {
        _connectionString = new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString();
        _writer = Open();
    }

    /// <summary>Opens the database, creates it where it is absent, and brings its schema up to date.</summary>
    public static Database Open(string path)
    {
        var database = new Database(path);
        database.Migrate();
        return database;
    }

    /// <summary>
    /// Runs <paramref name="work"/> in one transaction; it is durable when this returns. Writers queue up; keep the work
    /// short and free of other I/O.
    /// </summary>
    public async Task<T> WriteAsync<T>(Func<DbTransaction, T> work, CancellationToken cancel)
    {
        await _writing.WaitAsync(cancel);
        try
        {
            _afterCommit.Clear();
            using var transaction = _writer.BeginTransaction(deferred: false);
            var result = work(transaction);
            transaction.Commit();
            _afterCommit.ForEach(action => action());
            return result;
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <summary>
    /// Runs <paramref name="action"/> once <paramref name="transaction"/>, the one under way, is durable, in the order of
    /// the commits; not at all when it is rolled back. The next writer waits meanwhile: be brief and do not throw.
    /// </summary>
    public void AfterCommit(DbTransaction transaction, Action action)
    {
        Debug.Assert(transaction.Connection == _writer, "only a transaction of WriteAsync has an end to wait for");
        _afterCommit.Add(action);
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

    /// <summary>Runs a query on a pooled connection that sees only what is committed.</summary>
    public T Read<T>(Func<DbConnection, T> work)
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

    public void Dispose()
    {
        // A transaction under way is finished first: it may be somebody's acknowledged push.
        _writing.Wait();
        foreach (var reader in _readers)
        {
            reader.Dispose();
        }

        _writer.Dispose();
        _writing.Dispose();
    }

    private SqliteConnection Open()
    {
        var connection = new SqliteConnection(_connectionString);
        connection.Open();
        // FULL: a commit is on disk when it returns, which is what "acknowledged" means here.
        connection.Run(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=10000;"
        );
        return connection;
    }

    private void Migrate()
    {
        _writer.Run("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY) WITHOUT ROWID");
        const string prefix = "Kiln.Server.Metadata.Migrations.sqlite.";
        var assembly = Assembly.GetExecutingAssembly();
        foreach (var resource in assembly.GetManifestResourceNames().Order(StringComparer.Ordinal))
        {
            if (!resource.StartsWith(prefix, StringComparison.Ordinal))
            {
                continue;
            }

            var name = resource[prefix.Length..];
            using var transaction = _writer.BeginTransaction(deferred: false);
            if (_writer.Scalar<string>("SELECT name FROM migrations WHERE name = @name", ("name", name)) is null)
            {
                using var reader = new StreamReader(assembly.GetManifestResourceStream(resource)!);
                _writer.Run(reader.ReadToEnd());
                _writer.Run("INSERT INTO migrations (name) VALUES (@name)", ("name", name));
            }

            transaction.Commit();
        }
    }
}
