using System.Data.Common;
using Kiln.Client;
using Kiln.Oci;
using Kiln.Server.Access.Connections;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Delivery;
using Kiln.Server.Front;
using Kiln.Server.Metadata;
using Kiln.Server.Metadata.Postgres;
using Kiln.Server.Operation;
using Kiln.Server.Registry.Upstreams;
using Kiln.Server.Storage.S3;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Kiln.Server;

/// <summary>What can be found wrong with a server's options without starting it.</summary>
public static class ServerCheck
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    /// <summary>
    /// Looks at addresses, policy, certificate, database and storage. Changes nothing, and may run beside a server that uses
    /// the same ones.
    /// </summary>
    /// <returns>All faults; warnings; and what was found right.</returns>
    public static async Task<(
        IReadOnlyList<string> Faults,
        IReadOnlyList<string> Warnings,
        IReadOnlyList<string> Right
    )> RunAsync(ServerOptions options, TimeProvider time)
    {
        var findings = new Findings(time);
        findings.Try("addresses", () => Addresses(options));
        if (options.Access.PolicyFile is { } policy)
        {
            var report = PolicyReport.Check(policy);
            findings.Warnings.AddRange(report.Warnings);
            findings.Faults.AddRange(report.Faults);
            if (report.Faults.Count == 0)
            {
                findings.Right.Add($"policy {policy}");
            }
        }

        foreach (var (what, look) in Parts(options, time))
        {
            findings.Try(what, look);
        }

        findings.Try("other files that the configuration names", () => Files(options));
        // The driver waits for a host that says nothing for as long as the address allows.
        await findings.TryAsync("the database", Task.Run(() => $"database {Database(options)}"));
        if (options.Storage.Location is { } bucket)
        {
            await findings.TryAsync($"the bucket {bucket}", BucketAsync(options.Storage, time));
        }

        if (
            options.Front != new FrontOptions()
            && findings.Try("what is told of the registry behind", () => FrontRules.Check(options))
            && options.Front.Url is { } behind
        )
        {
            findings.Warnings.AddRange(FrontRules.Warnings(options));
            await findings.TryAsync($"the registry behind, {behind}", BehindAsync(options, time));
        }

        findings.Try($"data directory {options.DataDirectory}", () => Writable(options.DataDirectory));
        return (findings.Faults, findings.Warnings, findings.Right);
    }

    private static IEnumerable<(string What, Action Look)> Parts(ServerOptions options, TimeProvider time)
    {
        if (options.Access is { CertificateFile: { } certificate, KeyFile: not null })
        {
            yield return ($"certificate {certificate}", () => Certificate(options, time));
        }

        if (options.Build.SigningKeyFile is { } signing)
        {
            yield return ($"signing key {signing}", () => SigningKey.Of(options.Build).Dispose());
        }

        if (options.Upstreams.Count > 0)
        {
            yield return ("upstreams", () => Upstreams(options, time));
        }
    }

    private static async Task<string> BucketAsync(StorageOptions options, TimeProvider time)
    {
        using var bucket = new S3Bucket(options, time, NullLogger<S3Bucket>.Instance);
        await bucket.CheckAsync(CancellationToken.None);
        return $"bucket {options.Location}";
    }

    private static async Task<string> BehindAsync(ServerOptions options, TimeProvider time)
    {
        using var behind = new RegistryBehind(options, time, NullLogger<RegistryBehind>.Instance);
        await behind.PingAsync();
        if (options.Front is { User: null, TokenFile: null })
        {
            return $"the registry behind, {options.Front.Url}, answers";
        }

        await behind.LoginAsync(CancellationToken.None);
        return $"the registry behind, {options.Front.Url}, lets this server in";
    }

    private static void Addresses(ServerOptions options)
    {
        if (options.Operation.ManagementUrl is { } url)
        {
            Management.EndPointOf(url);
        }

        ListenAddresses.Check(options);
    }

    private static void Certificate(ServerOptions options, TimeProvider time)
    {
        using var loaded = new ServerCertificate(options, time, NullLogger<ServerCertificate>.Instance);
    }

    private static void Upstreams(ServerOptions options, TimeProvider time)
    {
        using var table = new UpstreamTable(options, time, NullLogger<UpstreamTable>.Instance);
    }

    private static void Files(ServerOptions options)
    {
        if (options.Operation.OtlpHeadersFile is { } headers)
        {
            using var opened = File.OpenRead(headers);
        }

        foreach (var hook in options.Events.Webhooks)
        {
            Signature.Read(hook.SecretFile);
        }
    }

    private static string Database(ServerOptions options)
    {
        if (options.Database is { } address)
        {
            var parsed = PostgresAddress.Parse(address, options.DatabasePasswordFile);
            using var source = NpgsqlSource(parsed);
            using var connection = source.OpenConnection();
            return $"{parsed} ({connection.PostgreSqlVersion})";
        }

        var file = Path.Combine(options.DataDirectory, "kiln.db");
        if (!File.Exists(file))
        {
            return $"{file} (made at the first start)";
        }

        SQLitePCL.Batteries_V2.Init();
        var opened = new SqliteConnectionStringBuilder
        {
            DataSource = file,
            Mode = SqliteOpenMode.ReadOnly,
            Pooling = false,
        };
        using var sqlite = new SqliteConnection(opened.ToString());
        sqlite.Open();
        sqlite.Scalar<long>("SELECT COUNT(*) FROM migrations");
        return file;
    }

    private static NpgsqlDataSource NpgsqlSource(PostgresAddress address)
    {
        var builder = new NpgsqlSlimDataSourceBuilder(address.Connection.ConnectionString);
        builder.EnableTransportSecurity();
        return builder.Build();
    }

    // A file that is made and goes again, in the nearest directory that is there already.
    private static void Writable(string directory)
    {
        var existing = Path.GetFullPath(directory);
        while (!Directory.Exists(existing))
        {
            if (File.Exists(existing))
            {
                throw new IOException($"cannot use the data directory {directory}: {existing} is a file");
            }

            existing = Path.GetDirectoryName(existing)!;
        }

        var trial = Path.Combine(existing, $".kiln-check-{Guid.NewGuid():N}");
        try
        {
            using var file = new FileStream(
                trial,
                new FileStreamOptions
                {
                    Mode = FileMode.CreateNew,
                    Access = FileAccess.Write,
                    Options = FileOptions.DeleteOnClose,
                }
            );
            file.WriteByte(0);
            file.Flush(flushToDisk: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"cannot write in the data directory {directory}: {e.Message}", e);
        }
    }

    /// <summary>What was found so far.</summary>
    private sealed class Findings(TimeProvider time)
    {
        public List<string> Faults { get; } = [];
        public List<string> Warnings { get; } = [];
        public List<string> Right { get; } = [];

        public async Task TryAsync(string what, Task<string> look)
        {
            try
            {
                Right.Add(await look.WaitAsync(Patience, time));
            }
            catch (TimeoutException)
            {
                Faults.Add($"{what} does not answer within {Patience.TotalSeconds} s");
            }
            catch (Exception e)
                when (e is ServerStartException or DbException or IOException or RegistryException or OciException)
            {
                Faults.Add($"cannot use {what}: {e.Message}");
            }
        }

        /// <returns>Whether it is right.</returns>
        public bool Try(string what, Action look)
        {
            try
            {
                look();
                Right.Add(what);
                return true;
            }
            catch (Exception e) when (e is ServerStartException or IOException or UnauthorizedAccessException)
            {
                Faults.AddRange(e.Message.Split("\n  "));
                return false;
            }
        }
    }
}
