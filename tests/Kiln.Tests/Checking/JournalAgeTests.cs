using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Journal;
using Kiln.Server.Metadata;
using Kiln.Server.Metadata.Sqlite;
using Kiln.Server.Storage;
using Kiln.Tests.Registry;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Checking;

/// <summary>Databases and journals that are not of the same time, and what lets a journal be written for long.</summary>
public sealed class JournalAgeTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-age-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_database_of_an_older_backup_is_refused_and_can_be_made_anew(bool whileTheServerRan)
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("a", Samples.Image(), "old");
        await DrainAsync(server);
        var backup = Path.Combine(_folder, "backup.db");
        if (whileTheServerRan)
        {
            Backup(server.DataDirectory, backup);
        }
        else
        {
            await server.RestartAsync(() => Backup(server.DataDirectory, backup));
        }

        await server.Http.PushAsync("a", Samples.Image(), "new");
        await server.RestartAsync(async options =>
        {
            Restore(options, backup);
            Assert.Contains("older than the journal", await StartFaultAsync(options), StringComparison.Ordinal);
            var e = await Assert.ThrowsAsync<ServerStartException>(() => Kept.CheckAsync(options));
            Assert.Contains("kiln fsck --rebuild", e.Message, StringComparison.Ordinal);
            Assert.Contains("newest copy", e.Message, StringComparison.Ordinal);

            var made = await StateCheck.RebuildAsync(options, Cancel);
            Assert.Empty(made.Lost);
            Assert.Empty((await Kept.CheckAsync(options)).Findings);
            return options;
        });

        Assert.Equal(["new", "old"], await server.Http.TagsAsync("a"));
    }

    [Fact]
    public async Task An_older_database_is_taken_where_the_journal_was_moved_aside()
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("a", Samples.Image(), "old");
        await DrainAsync(server);
        var backup = Path.Combine(_folder, "backup.db");
        Backup(server.DataDirectory, backup);
        await server.Http.PushAsync("a", Samples.Image(), "new");
        await server.RestartAsync(() =>
        {
            Restore(new ServerOptions { DataDirectory = server.DataDirectory }, backup);
            Directory.Move(Path.Combine(server.DataDirectory, "journal"), Path.Combine(_folder, "aside"));
        });

        Assert.Equal(["old"], await server.Http.TagsAsync("a"));
    }

    [Fact]
    public async Task A_journal_of_an_older_backup_is_written_anew()
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("a", Samples.Image(), "old");
        await DrainAsync(server);
        var journal = Path.Combine(server.DataDirectory, "journal");
        foreach (var file in Directory.GetFiles(journal))
        {
            File.Copy(file, Path.Combine(_folder, Path.GetFileName(file)));
        }

        await server.Http.PushAsync("a", Samples.Image(), "new");
        await server.RestartAsync(() =>
        {
            Directory.Delete(journal, recursive: true);
            Directory.CreateDirectory(journal);
            foreach (var file in Directory.GetFiles(_folder))
            {
                File.Copy(file, Path.Combine(journal, Path.GetFileName(file)));
            }
        });
        await DrainAsync(server);

        await server.RestartAsync(async options =>
        {
            Assert.Empty((await Kept.CheckAsync(options)).Findings);
            return (await Kept.LoseAndRebuildAsync(options)).Options;
        });
        Assert.Equal(["new", "old"], await server.Http.TagsAsync("a"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_line_that_is_not_counted_is_what_a_crash_leaves_if_its_entry_still_waits(bool waits)
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("a", Samples.Image(), "1");
        await server.RestartAsync(async options =>
        {
            // As it is between the line and the transaction that counts it.
            var name = RebuildTests.Segments(options).Last(s => new FileInfo(s).Length > 0);
            JournalLine last;
            await using (var stream = File.OpenRead(name))
            {
                last = JournalLines.Read(stream, JournalSegment.Parse(Path.GetFileName(name))!).Last();
            }

            using (var database = new SqliteDatabase(Path.Combine(options.DataDirectory, "kiln.db")))
            {
                await database.WriteAsync(
                    transaction =>
                    {
                        transaction.Run("UPDATE journal_state SET sequence = @line", ("line", last.Number));
                        if (waits)
                        {
                            JournalOutbox.Note(transaction, last.Entry!);
                        }
                    },
                    Cancel
                );
            }

            var fault = await StartFaultAsync(options);
            Assert.Equal(waits, fault is null);
            return waits ? options : (await Kept.LoseAndRebuildAsync(options)).Options;
        });

        Assert.Equal(["1"], await server.Http.TagsAsync("a"));
    }

    [Fact]
    public async Task A_database_that_is_empty_is_not_taken_for_that_of_a_journal()
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("a", Samples.Image(), "1");
        await server.RestartAsync(async options =>
        {
            foreach (var file in Directory.GetFiles(options.DataDirectory, "kiln.db*"))
            {
                File.Delete(file);
            }

            Assert.Contains("--rebuild", await StartFaultAsync(options), StringComparison.Ordinal);
            return (await Kept.LoseAndRebuildAsync(options)).Options;
        });
        Assert.Equal(["1"], await server.Http.TagsAsync("a"));
    }

    [Fact]
    public async Task What_is_older_than_a_damaged_snapshot_stays_until_there_is_a_whole_one()
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("first", Samples.Image(), "1");
        await DrainAsync(server);
        var options = new ServerOptions { DataDirectory = server.DataDirectory };
        for (var round = 0; round < 2; round++)
        {
            for (var i = 0; i < 60; i++)
            {
                await server.Http.PushAsync("c", Samples.Image(), $"t{i}");
            }

            await DrainAsync(server);
            server.Services.GetRequiredService<JournalSnapshot>().Require();
            await DrainAsync(server);
            var newest = RebuildTests.Segments(options).Last(s => s.EndsWith("snapshot", StringComparison.Ordinal));
            var bytes = await File.ReadAllBytesAsync(newest, Cancel);
            bytes[bytes.Length / 2] ^= 1;
            await File.WriteAllBytesAsync(newest, bytes, Cancel);
        }

        var before = await Kept.SeenOfAsync(server.Http, "c");
        await server.RestartAsync(async stopped =>
        {
            var (fresh, made) = await Kept.LoseAndRebuildAsync(stopped);
            Assert.Equal(2, made.Faults.Count);
            Assert.Empty(made.Lost);
            Assert.NotEmpty(Directory.GetFiles(made.JournalAside!));
            return fresh;
        });
        Assert.Equal(before, await Kept.SeenOfAsync(server.Http, "c"));
        Assert.Equal(["1"], await server.Http.TagsAsync("first"));
    }

    [Fact]
    public async Task A_thousand_small_segments_become_a_snapshot()
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("a", Samples.Image(), "1");
        await DrainAsync(server);
        await server.RestartAsync(async options =>
        {
            // Of a writer that was killed a thousand times before its first line.
            using var database = new SqliteDatabase(Path.Combine(options.DataDirectory, "kiln.db"));
            var (epoch, next) = database.Read(c =>
                (
                    c.Scalar<long>("SELECT epoch FROM journal_state"),
                    c.Scalar<long>("SELECT sequence FROM journal_state")
                )
            );
            for (var i = 1; i <= JournalSnapshot.MaxSegments; i++)
            {
                var name = new JournalSegment(epoch + i, next, IsSnapshot: false).Name;
                await File.WriteAllBytesAsync(Path.Combine(options.DataDirectory, "journal", name), [], Cancel);
            }

            await database.WriteAsync(
                t =>
                    t.Run(
                        "UPDATE journal_state SET epoch = epoch + @more",
                        ("more", (long)JournalSnapshot.MaxSegments)
                    ),
                Cancel
            );
            return options;
        });

        List<string> Left() => RebuildTests.Segments(new ServerOptions { DataDirectory = server.DataDirectory });
        await DrainAsync(server);
        Assert.Equal(2, Left().Count(s => s.EndsWith("snapshot", StringComparison.Ordinal)));

        // The second takes the place of the first one, and of what came between them.
        await server.Http.PushAsync("a", Samples.Image(), "2");
        await DrainAsync(server);
        server.Services.GetRequiredService<JournalSnapshot>().Require();
        await DrainAsync(server);
        Assert.True(Left().Count < 10, $"{Left().Count} segments");
    }

    [Fact]
    public async Task A_lease_lasts_as_long_as_its_work_and_work_ends_with_its_lease()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        using var database = new SqliteDatabase(Path.Combine(_folder, "lease.db"));
        var lease = new JournalLease(database, time);
        var turn = (await lease.TakeAsync(anew: true, Cancel))!;
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        long Expires() => database.Read(c => c.Scalar<long>("SELECT expires FROM journal_state"));

        Assert.True(
            await lease.HoldAsync(
                turn,
                async _ =>
                {
                    for (var i = 0; i < 10; i++)
                    {
                        var before = Expires();
                        time.Advance(TimeSpan.FromSeconds(6));
                        while (Expires() == before)
                        {
                            await Task.Delay(5, patience.Token);
                        }

                        Assert.True(Expires() > time.GetUtcNow().ToUnixTimeMilliseconds());
                    }

                    return true;
                },
                Cancel
            )
        );
        var other = new JournalLease(database, time);
        Assert.False(
            await lease.HoldAsync(
                turn,
                async token =>
                {
                    await other.TakeAsync(anew: true, Cancel);
                    while (true)
                    {
                        time.Advance(TimeSpan.FromSeconds(6));
                        patience.Token.ThrowIfCancellationRequested();
                        await Task.Delay(5, token);
                    }
                },
                Cancel
            )
        );
    }

    [Fact]
    public async Task Bytes_that_are_not_the_same_twice_are_told_and_stay()
    {
        RequireOwnFiles();
        await using var server = await TestServer.StartAsync(services: s =>
            s.AddSingleton<IBlobStore, Storage.OddStore>()
        );
        await Kept.FillAsync(server.Http);
        await DrainAsync(server);
        var store = (Storage.OddStore)server.Services.GetRequiredService<IBlobStore>();
        var reads = 0;
        var digest = Digest.Of(Kept.Layer);
        store.Reading = (wanted, stream) =>
            wanted == digest && Interlocked.Increment(ref reads) == 1 ? new MemoryStream(Kept.Layer[..^1]) : stream;
        var findings = new List<CheckFinding>();

        await new Kiln.Server.Checking.BlobCheck(
            server.Services.GetRequiredService<Database>(),
            store,
            server.Services.GetRequiredService<DataDirectory>()
        ).RunAsync(new Kiln.Server.Checking.CheckRun(new CheckOptions { Repair = true }, findings.Add), Cancel);

        var finding = Assert.Single(findings);
        Assert.Equal(("blob-unsteady", digest.ToString()), (finding.Kind, finding.Subject));
        Assert.False(finding.CanBeMended || finding.IsMended);
        Assert.Equal(Kept.Layer, await server.Http.GetByteArrayAsync($"b/blobs/{digest}"));
    }

    private static void RequireOwnFiles()
    {
        Assert.SkipWhen(TestState.IsPostgres, "NOT RUN: databases are copied as files here");
        TestState.RequireFiles();
        TestState.RequireOneServer("databases and journals are of stopped servers");
    }

    private static async Task<string?> StartFaultAsync(ServerOptions options)
    {
        await using var app = KilnServer.Create(options);
        try
        {
            await app.StartAsync(Cancel);
            await app.StopAsync(Cancel);
            return null;
        }
        catch (ServerStartException e)
        {
            return e.Message;
        }
    }

    // As "sqlite3 kiln.db .backup" does: of a database in use.
    private static void Backup(string data, string file)
    {
        using var connection = new SqliteConnection($"Data Source={Path.Combine(data, "kiln.db")};Pooling=False");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = "VACUUM INTO $file";
        command.Parameters.AddWithValue("$file", file);
        command.ExecuteNonQuery();
    }

    private static void Restore(ServerOptions options, string backup)
    {
        foreach (var file in Directory.GetFiles(options.DataDirectory, "kiln.db*"))
        {
            File.Delete(file);
        }

        File.Copy(backup, Path.Combine(options.DataDirectory, "kiln.db"));
    }

    private static async Task DrainAsync(TestServer server) =>
        Assert.True(await server.Services.GetRequiredService<JournalWriter>().DrainAsync(Cancel));
}
