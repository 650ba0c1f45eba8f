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
    private readonly SqliteConnection _writer;

    // As many as ever read at one time. A pool of our own, since the driver's would ask for the pragmas anew each time.
    private readonly ConcurrentBag<SqliteConnection> _readers = [];

    static SqliteDatabase() => SQLitePCL.Batteries_V2.Init();

    /// <summary>Opens the database, creates it where it is absent, and brings its schema up to date.</summary>
    public SqliteDatabase(string path)
        : base(MaxBatch)
    {
        _connectionString = new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString();
        _writer = Open();
        using var transaction = Begin();
        MigrationFiles.Apply(transaction, "sqlite");
        transaction.Commit();
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

    protected override DbTransaction Begin() => _writer.BeginTransaction(deferred: false);

    protected override void Close()
    {
        foreach (var reader in _readers)
        {
            reader.Dispose();
        }

        _writer.Dispose();
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
}
