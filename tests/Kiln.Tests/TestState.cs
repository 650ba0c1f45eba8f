using Kiln.Server;
using Kiln.Server.Metadata.Postgres;
using Kiln.TestPrograms;
using Kiln.Tests;
using Npgsql;

[assembly: AssemblyFixture(typeof(TestState))]

namespace Kiln.Tests;

/// <summary>
/// Where the servers of a test run keep their state: in a file, or with <c>KILN_TEST_DATABASE=postgres</c> in a PostgreSQL
/// that the run starts. All tests that speak to a server are the contract of both.
/// </summary>
public sealed class TestState : IDisposable
{
    private static readonly Lazy<PostgresServer> Postgres = new(() =>
    {
        // What a conflict does now and then is done to all.
        PostgresDatabase.RunTwice = true;
        return PostgresServer.Start();
    });

    /// <summary>Whether names and the queue are in a PostgreSQL.</summary>
    public static bool IsPostgres => Environment.GetEnvironmentVariable("KILN_TEST_DATABASE") == "postgres";

    /// <summary>The PostgreSQL of this run; skips the test where the machine has none.</summary>
    internal static PostgresServer RequirePostgres()
    {
        Assert.SkipUnless(PostgresServer.IsHere, "NOT RUN: this machine has no PostgreSQL (Debian: postgresql)");
        return Postgres.Value;
    }

    /// <summary>Gives a server fresh state of the kind that this run is about.</summary>
    internal static ServerOptions Fresh(ServerOptions options) =>
        IsPostgres
            ? options with
            {
                Database = Postgres.Value.NewAddress(),
                DatabasePasswordFile = Postgres.Value.PasswordFile,
            }
            : options;

    /// <summary>Runs a statement in that PostgreSQL, past all servers.</summary>
    internal static object? RunInPostgres(string sql)
    {
        var address = new NpgsqlConnectionStringBuilder
        {
            Host = RequirePostgres().Host,
            Username = "kiln",
            Password = PostgresServer.Password,
            Database = "postgres",
            Pooling = false,
        };
        using var connection = new NpgsqlConnection(address.ConnectionString);
        connection.Open();
        using var command = new NpgsqlCommand(sql, connection);
        return command.ExecuteScalar();
    }

    public void Dispose()
    {
        if (Postgres.IsValueCreated)
        {
            Postgres.Value.Dispose();
        }
    }
}
