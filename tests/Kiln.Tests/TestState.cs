using Kiln.Server;
using Kiln.Server.Metadata.Postgres;
using Kiln.TestPrograms;
using Kiln.Tests;
using Npgsql;

[assembly: AssemblyFixture(typeof(TestState))]

namespace Kiln.Tests;

/// <summary>
/// Where the servers of a test run keep their state: in files, or with <c>KILN_TEST_DATABASE=postgres</c> and
/// <c>KILN_TEST_STORAGE=s3</c> in a PostgreSQL and a bucket that the run starts. With <c>KILN_TEST_SERVERS=2</c> each server is
/// two behind a proxy that sends them requests in turn. All tests that speak to a server are the contract of all of these.
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

    private static readonly Lazy<S3Server> Bucket = new(S3Server.Start);

    private static readonly Lazy<string> Keys = new(() =>
    {
        var file = Path.Combine(Path.GetTempPath(), $"kiln-keys-{Guid.NewGuid():N}");
        File.WriteAllText(file, "a secret that all servers of this test run have\n");
        return file;
    });

    /// <summary>Whether blobs are in a bucket.</summary>
    public static bool IsS3 => Environment.GetEnvironmentVariable("KILN_TEST_STORAGE") == "s3";

    /// <summary>How many servers work as one.</summary>
    public static int Servers => Environment.GetEnvironmentVariable("KILN_TEST_SERVERS") == "2" ? 2 : 1;

    /// <summary>A file with a secret, for <c>--keys-file</c>.</summary>
    internal static string KeysFile => Keys.Value;

    /// <summary>Skips a test of what one server does by itself where a run has several.</summary>
    internal static void RequireOneServer(string why) =>
        Assert.SkipWhen(Servers > 1, $"not for several servers behind a proxy: {why}");

    /// <summary>Skips a test of what is in files where a run has a bucket.</summary>
    internal static void RequireFiles() => Assert.SkipWhen(IsS3, "blobs are no files in this run");

    /// <summary>A part of a bucket that nobody has used; skips the test where the machine has no S3 server.</summary>
    internal static StorageOptions RequireBucket()
    {
        Assert.SkipUnless(S3Server.Missing is null, S3Server.Missing ?? "");
        return NewBucket();
    }

    /// <summary>The PostgreSQL of this run; skips the test where the machine has none.</summary>
    internal static PostgresServer RequirePostgres()
    {
        Assert.SkipUnless(PostgresServer.IsHere, "NOT RUN: this machine has no PostgreSQL (Debian: postgresql)");
        return Postgres.Value;
    }

    /// <summary>Gives a server fresh state of the kind that this run is about.</summary>
    internal static ServerOptions Fresh(ServerOptions options)
    {
        if (IsPostgres)
        {
            options = options with
            {
                Database = Postgres.Value.NewAddress(),
                DatabasePasswordFile = Postgres.Value.PasswordFile,
            };
        }

        if (Servers > 1)
        {
            options = options with { KeysFile = KeysFile };
        }

        return IsS3 ? options with { Storage = NewBucket() } : options;
    }

    private static StorageOptions NewBucket() =>
        new()
        {
            Location = S3Server.NewStorage(),
            Endpoint = Bucket.Value.Endpoint,
            CredentialsFile = Bucket.Value.CredentialsFile,
        };

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

        if (Bucket.IsValueCreated)
        {
            Bucket.Value.Dispose();
        }

        if (Keys.IsValueCreated)
        {
            File.Delete(Keys.Value);
        }
    }
}
