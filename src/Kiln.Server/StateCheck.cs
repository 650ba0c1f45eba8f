using Kiln.Server.Checking;
using Kiln.Server.Journal;
using Kiln.Server.Metadata;
using Kiln.Server.Metadata.Sqlite;
using Kiln.Server.Registry;
using Kiln.Server.Storage;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server;

/// <summary>Holds what a server keeps against itself, mends it, and makes its database anew. No server may be running.</summary>
public static class StateCheck
{
    private static readonly string[] Derived =
    [
        "condemned_links",
        "condemned_manifests",
        "condemned_blobs",
        "quota_items",
        "quota_scopes",
    ];

    /// <summary>Checks everything; each finding is told once it is known.</summary>
    /// <exception cref="ServerStartException">A server uses the data, or there is nothing there.</exception>
    public static async Task<CheckSummary> RunAsync(
        ServerOptions options,
        CheckOptions check,
        Action<CheckFinding> tell,
        CancellationToken cancel
    )
    {
        RequireData(options);
        await using var services = Open(options);
        var run = new CheckRun(check, tell);
        var database = OpenDatabase(services, options);
        if (!DatabaseCheck.IsSound(database, run))
        {
            return run.Summary;
        }

        var store = services.GetRequiredService<IBlobStore>();
        // Before anything counts in the database as written.
        await services.GetRequiredService<JournalAge>().CheckAsync(cancel);
        await RequireAloneAsync(services, database, cancel);
        await new JournalCheck(
            database,
            services.GetRequiredService<IJournalStore>(),
            services.GetRequiredService<DataDirectory>()
        ).RunAsync(run, cancel);
        await new BlobCheck(database, store, services.GetRequiredService<DataDirectory>()).RunAsync(run, cancel);
        await new ManifestCheck(database, store, options, TimeProvider.System).RunAsync(run, cancel);
        await new NameCheck(database, store, TimeProvider.System).RunAsync(run, cancel);
        if (run.Summary.Mended > 0)
        {
            await ForgetAsync(database, cancel);
            // What was mended, and what the journal lacked, is in a new snapshot.
            await SnapshotAsync(services, cancel);
        }

        if (!check.Quick)
        {
            File.Delete(services.GetRequiredService<DataDirectory>().Unchecked);
        }

        await services.GetRequiredService<JournalLease>().ReleaseAsync(cancel);
        return run.Summary;
    }

    /// <summary>Makes a new database from the journal and the blobs; a file that is there is moved aside.</summary>
    /// <exception cref="ServerStartException">A server uses the data, or there is no journal.</exception>
    public static async Task<RebuildSummary> RebuildAsync(ServerOptions options, CancellationToken cancel)
    {
        RequireData(options);
        var (report, aside) = await FillAsync(options, cancel);
        await using var services = Open(options);
        // What was lost this time may be had by another way as long as the old journal is there.
        var journal =
            report.Lost.Count + report.Faults.Count > 0
                ? await services.GetRequiredService<IJournalStore>().SetAsideAsync(Mark(), cancel)
                : null;
        await SnapshotAsync(services, cancel);
        return services
            .GetRequiredService<Database>()
            .Read(c => new RebuildSummary(
                c.Scalar<long>("SELECT COUNT(*) FROM repositories"),
                c.Scalar<long>("SELECT COUNT(*) FROM manifests"),
                c.Scalar<long>("SELECT COUNT(*) FROM tags"),
                report.Lost,
                report.Faults,
                aside
            )
            {
                JournalAside = journal,
            });
    }

    private static async Task<(RebuildReport Report, string? Aside)> FillAsync(
        ServerOptions options,
        CancellationToken cancel
    )
    {
        if (options.Database is not null)
        {
            await using var shared = Open(options);
            await RequireAloneAsync(shared, shared.GetRequiredService<Database>(), cancel);
            var made = await shared.GetRequiredService<NameRebuild>().RunAsync(cancel);
            // The snapshot is another holder's.
            await shared.GetRequiredService<JournalLease>().ReleaseAsync(cancel);
            return (made, null);
        }

        // Beside the old one, which is not even opened.
        var file = Path.Combine(Path.GetFullPath(options.DataDirectory), "kiln.db.new");
        RebuildReport report;
        await using (var beside = Open(options, _ => OpenNew(file)))
        {
            report = await beside.GetRequiredService<NameRebuild>().RunAsync(cancel);
        }

        await using var services = Open(options);
        var directory = services.GetRequiredService<DataDirectory>();
        var aside = MoveAside(directory.DatabaseFile);
        File.Move(file, directory.DatabaseFile);
        Posix.FlushDirectory(directory.Root);
        return (report, aside);
    }

    private static SqliteDatabase OpenNew(string file)
    {
        Remove(file);
        return new SqliteDatabase(file);
    }

    private static ServiceProvider Open(ServerOptions options, Func<IServiceProvider, Database>? database = null)
    {
        var directory = new DataDirectory(options.DataDirectory);
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddSingleton(options).AddSingleton(_ => directory).AddSingleton(TimeProvider.System);
        services.AddSingleton(database ?? KilnServer.OpenDatabase);
        services.AddSingleton(_ => new ServerId(directory.ServerId())).AddSingleton<ServerPresence>();
        services
            .AddStorage(options.Storage)
            .AddJournal(options.Storage)
            .AddSingleton<CondemnedBlobs>()
            .AddSingleton<NameRebuild>();
        var provider = services.BuildServiceProvider();
        // So that its lock ends with the provider.
        provider.GetRequiredService<DataDirectory>();
        return provider;
    }

    // A wrong --data must not make a directory and call it clean.
    private static void RequireData(ServerOptions options)
    {
        if (!Directory.Exists(Path.Combine(options.DataDirectory, "blobs")))
        {
            throw new ServerStartException(
                $"{Path.GetFullPath(options.DataDirectory)} is no data directory of kiln; name it with --data"
            );
        }
    }

    private static Database OpenDatabase(ServiceProvider services, ServerOptions options)
    {
        var directory = services.GetRequiredService<DataDirectory>();
        if (options.Database is null && !File.Exists(directory.DatabaseFile))
        {
            throw new ServerStartException(
                $"there is no database in {directory.Root}; make it anew with: kiln fsck --rebuild --data {directory.Root}"
            );
        }

        try
        {
            return services.GetRequiredService<Database>();
        }
        catch (SqliteException e)
        {
            throw new ServerStartException(
                $"the database {directory.DatabaseFile} cannot be read ({e.Message}); make it anew with: kiln fsck --rebuild --data {directory.Root}",
                e
            );
        }
    }

    private static async Task RequireAloneAsync(ServiceProvider services, Database database, CancellationToken cancel)
    {
        if (
            database.IsShared
            && (
                database.Read(services.GetRequiredService<ServerPresence>().HasOthers)
                || await services.GetRequiredService<JournalLease>().TakeAsync(anew: true, cancel) is null
            )
        )
        {
            throw new ServerStartException("a server uses this database now; stop all of them first");
        }
    }

    // What was noted of things that were mended may not be so any more. The collector condemns anew, and quotas are counted
    // when a server starts. Nobody is deleting now: marks of deletions say nothing.
    private static Task ForgetAsync(Database database, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                foreach (var table in Derived)
                {
                    transaction.Run($"DELETE FROM {table}");
                }
            },
            cancel
        );

    private static async Task SnapshotAsync(ServiceProvider services, CancellationToken cancel)
    {
        var lease = services.GetRequiredService<JournalLease>();
        if (await lease.TakeAsync(anew: true, cancel) is { } turn)
        {
            await services.GetRequiredService<JournalSnapshot>().TakeAsync(turn, cancel);
            await lease.ReleaseAsync(cancel);
        }
    }

    private static string Mark() => $"{TimeProvider.System.GetUtcNow():yyyyMMddHHmmss}";

    private static string? MoveAside(string file)
    {
        if (!File.Exists(file))
        {
            Remove(file);
            return null;
        }

        var aside = $"{file}.aside-{Mark()}";
        foreach (var end in new[] { "-wal", "-shm", "" })
        {
            if (File.Exists(file + end))
            {
                File.Move(file + end, aside + end);
            }
        }

        return aside;
    }

    private static void Remove(string file)
    {
        foreach (var end in new[] { "", "-wal", "-shm" })
        {
            File.Delete(file + end);
        }
    }
}
