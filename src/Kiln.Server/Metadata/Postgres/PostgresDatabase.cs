using System.Data;
using System.Data.Common;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Kiln.Server.Metadata.Postgres;

/// <summary>
/// The database in a PostgreSQL that several servers share. One of them writes at a time, under an advisory lock that
/// ends with the transaction (docs/adr: why not SERIALIZABLE); all read as they like.
/// </summary>
internal sealed class PostgresDatabase : Database
{
    // Each savepoint is a subtransaction, and beyond 64 of them every reader's snapshots get slow.
    private const int MaxBatch = 32;

    // "kiln": tells our lock from those of others in the same database; the schema is the other half of its name.
    private const int LockClass = 0x6b696c6e;

    // Payloads of NOTIFY are shorter than 8,000 bytes.
    private const int MaxPayload = 7500;

    // Queries block their thread for as long as the network takes; so many of them must not wait for one another.
    private const int MinThreads = 48;

    private readonly NpgsqlDataSource _source;
    private readonly PostgresAddress _address;
    private readonly PostgresSignals _signals;
    private readonly string _announcer = Guid.NewGuid().ToString("n");

    /// <summary>Connects, and brings the schema up to date; of several servers that start at once, one does.</summary>
    /// <exception cref="ServerStartException">There is no such database, or it does not let us in.</exception>
    public PostgresDatabase(PostgresAddress address, ILogger log)
        : base(MaxBatch)
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

        _signals = new PostgresSignals(_source, address.Channel, _announcer, Raise, log);
    }

    public override T Read<T>(Func<DbConnection, T> work)
    {
        using var connection = _source.OpenConnection();
        return work(connection);
    }

    protected override DbTransaction Begin()
    {
        try
        {
            return Lock();
        }
        catch (NpgsqlException e) when (e.IsTransient)
        {
            // A pooled connection whose server was restarted since. Nothing has happened on it yet.
            return Lock();
        }
    }

    protected override void Announce(DbTransaction transaction, IReadOnlyCollection<string> topics)
    {
        var payload = _announcer;
        foreach (var topic in topics)
        {
            if (payload.Length + topic.Length >= MaxPayload)
            {
                Notify(transaction, payload);
                payload = _announcer;
            }

            payload += ' ' + topic;
        }

        if (topics.Count > 0)
        {
            Notify(transaction, payload);
        }
    }

    protected override void End(DbTransaction transaction)
    {
        var connection = transaction.Connection;
        base.End(transaction);
        connection?.Dispose();
    }

    protected override void Close()
    {
        _signals.Dispose();
        _source.Dispose();
    }

    private void Notify(DbTransaction transaction, string payload) =>
        transaction.Scalar<object>(
            "SELECT pg_notify(@channel, @payload)",
            ("channel", _address.Channel),
            ("payload", payload)
        );

    private NpgsqlTransaction Lock()
    {
        var connection = _source.OpenConnection();
        try
        {
            // Each statement sees what was committed before it; with the lock, that is all there is to see.
            var transaction = connection.BeginTransaction(IsolationLevel.ReadCommitted);
            connection.Run(
                "SELECT pg_advisory_xact_lock(@class, hashtext(@schema))",
                ("class", LockClass),
                ("schema", _address.Schema)
            );
            return transaction;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private void Migrate()
    {
        var transaction = Begin();
        try
        {
            if (_address.Schema != "public")
            {
                transaction.Run($"CREATE SCHEMA IF NOT EXISTS {_address.Schema}");
            }

            MigrationFiles.Apply(transaction, "postgres");
            transaction.Commit();
        }
        finally
        {
            End(transaction);
        }
    }
}
