using System.Data;
using System.Data.Common;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Kiln.Server.Metadata.Postgres;

/// <summary>
/// The database in a PostgreSQL that several servers share. Transactions are SERIALIZABLE: those that got in each other's
/// way are run again, and one that has no luck has the database for itself (docs/adr: why not one writer at a time).
/// </summary>
internal sealed class PostgresDatabase : Database
{
    // "kiln": tells our lock from those of others in the same database; the schema is the other half of its name.
    private const int LockClass = 0x6b696c6e;

    // Connections of one server that write at a time.
    private const int MaxWriters = 16;

    // Tries beside others, before the one that keeps all others out.
    private const int SharedTries = 4;

    // Tries to reach the database.
    private const int ConnectionTries = 3;

    // Queries block their thread for as long as the network takes; so many of them must not wait for one another.
    private const int MinThreads = 48;

    private readonly NpgsqlDataSource _source;
    private readonly PostgresAddress _address;
    private readonly PostgresSignals _signals;
    private readonly SemaphoreSlim _writers = new(MaxWriters);

    /// <summary>Connects, and brings the schema up to date; of several servers that start at once, one does.</summary>
    /// <exception cref="ServerStartException">There is no such database, or it does not let us in.</exception>
    public PostgresDatabase(PostgresAddress address, ILogger log)
    {
        _address = address;
        var builder = new NpgsqlSlimDataSourceBuilder(address.Connection.ConnectionString);
        builder.EnableTransportSecurity();
        _source = builder.Build();
        ThreadPool.GetMinThreads(out var workers, out var ports);
        ThreadPool.SetMinThreads(Math.Max(workers, MinThreads), ports);
        try
        {
            Migrate();
        }
        catch (Exception e) when (e is NpgsqlException or TimeoutException)
        {
            _source.Dispose();
            throw new ServerStartException($"cannot use the database at {address}: {e.Message}", e);
        }

        _signals = new PostgresSignals(_source, address.Channel, Raise, log);
    }

    /// <summary>Has every work run a second time, its first run undone: for tests of that it may.</summary>
    internal static bool RunTwice { get; set; }

    public override bool IsShared => true;

    protected override string BeginReading => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

    public override T Read<T>(Func<DbConnection, T> work)
    {
        try
        {
            using var connection = _source.OpenConnection();
            return work(connection);
        }
        catch (NpgsqlException e) when (e.IsTransient)
        {
            // A pooled connection whose server was restarted since; the others are no better.
            _source.Clear();
            using var connection = _source.OpenConnection();
            return work(connection);
        }
    }

    public override void Dispose()
    {
        for (var i = 0; i < MaxWriters; i++)
        {
            _writers.Wait();
        }

        _signals.Dispose();
        _source.Dispose();
        _writers.Dispose();
    }

    protected override async Task RunAsync(QueuedWork work, CancellationToken cancel)
    {
        await _writers.WaitAsync(cancel);
        try
        {
            for (var tries = 1; !Try(work, tries); tries++)
            {
                // Those who met are not to meet again.
                await Task.Delay(
                    TimeSpan.FromMilliseconds(Random.Shared.Next(1, 5 * tries)),
                    TimeProvider.System,
                    cancel
                );
            }
        }
        finally
        {
            _writers.Release();
        }
    }

    /// <summary>Whether the work is done; false where it is to be tried again.</summary>
    private bool Try(QueuedWork work, int tries)
    {
        var alone = tries > SharedTries;
        var committing = false;
        try
        {
            using var connection = _source.OpenConnection();
            using var exclusive = alone ? new Exclusive(this, connection) : null;
            using var transaction = connection.BeginTransaction(IsolationLevel.Serializable);
            if (!alone)
            {
                Lock(connection, "pg_advisory_xact_lock_shared");
            }

            work.Run(transaction);
            if (RunTwice && tries == 1)
            {
                return false;
            }

            _signals.Announce(transaction, work.Topics);
            committing = true;
            transaction.Commit();
        }
        catch (PostgresException e) when (!alone && IsConflict(e))
        {
            return false;
        }
        catch (NpgsqlException e) when (e.IsTransient && !committing && tries < ConnectionTries)
        {
            // Connections of the pool whose server was restarted since. Nothing of the work is there.
            _source.Clear();
            return false;
        }

        Conclude(work);
        return true;
    }

    // Two that create the same thing, neither seeing the other's, are told of the second's key where they had better be
    // told of the conflict.
    private static bool IsConflict(PostgresException e) =>
        e.SqlState
            is PostgresErrorCodes.SerializationFailure
                or PostgresErrorCodes.DeadlockDetected
                or PostgresErrorCodes.UniqueViolation;

    private void Lock(NpgsqlConnection connection, string function) =>
        connection.Run(
            $"SELECT {function}(@class, hashtext(@schema))",
            ("class", LockClass),
            ("schema", _address.Schema)
        );

    private void Migrate()
    {
        using var connection = _source.OpenConnection();
        using var exclusive = new Exclusive(this, connection);
        using var transaction = connection.BeginTransaction(IsolationLevel.Serializable);
        if (_address.Schema != "public")
        {
            transaction.Run($"CREATE SCHEMA IF NOT EXISTS {_address.Schema}");
        }

        MigrationFiles.Apply(transaction, "postgres");
        transaction.Commit();
    }

    /// <summary>
    /// Keeps all other writers out. Of the session, and before the transaction begins, so that this sees what was
    /// committed while it waited.
    /// </summary>
    private sealed class Exclusive : IDisposable
    {
        private readonly PostgresDatabase _database;
        private readonly NpgsqlConnection _connection;

        public Exclusive(PostgresDatabase database, NpgsqlConnection connection)
        {
            (_database, _connection) = (database, connection);
            database.Lock(connection, "pg_advisory_lock");
        }

        public void Dispose()
        {
            // With a lost connection the lock is lost too.
            if (_connection.State == ConnectionState.Open)
            {
                _database.Lock(_connection, "pg_advisory_unlock");
            }
        }
    }
}
