using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Journal;
using Kiln.Server.Metadata;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Checking;

/// <summary>The database is lost; what clients see afterwards is what they saw before.</summary>
public sealed class RebuildTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Everything_that_names_something_is_as_before(bool compacted)
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync(o =>
            o with
            {
                JournalBytes = compacted ? 100 : o.JournalBytes,
            }
        );
        await Kept.FillAsync(server.Http);
        if (compacted)
        {
            await DrainAsync(server);
            await server.Http.PushAsync("c", Samples.Image(), "later");
            await DrainAsync(server);
            await server.Http.PushAsync("c", Samples.Image(), "later");
        }

        var before = await Kept.SeenAsync(server.Http);
        await server.RestartAsync(async options =>
        {
            var (fresh, made) = await Kept.LoseAndRebuildAsync(options);
            Assert.Empty(made.Lost);
            Assert.Empty(made.Faults);
            Assert.Null(made.JournalAside);
            var (summary, findings) = await Kept.CheckAsync(fresh);
            Assert.Empty(findings);
            Assert.Equal(made.Manifests, summary.Manifests);
            return fresh;
        });

        Assert.Equal(before, await Kept.SeenAsync(server.Http));
        await server.Http.PushAsync("a/app", Samples.Image(), "after");
        var after = await Kept.SeenAsync(server.Http);
        await server.RestartAsync(async options => (await Kept.LoseAndRebuildAsync(options)).Options);
        Assert.Equal(after, await Kept.SeenAsync(server.Http));
    }

    [Fact]
    public async Task Everything_is_as_before_where_blobs_and_journal_are_in_a_bucket()
    {
        TestState.RequireOneServer("the check is of stopped servers");
        var bucket = TestState.RequireBucket();
        await using var server = await TestServer.StartAsync(o => o with { Storage = bucket, JournalBytes = 100 });
        await Kept.FillAsync(server.Http);
        await DrainAsync(server);
        await server.Http.PushAsync("c", Samples.Image(), "later");
        var before = await Kept.SeenAsync(server.Http);
        await server.RestartAsync(async options =>
        {
            var (fresh, made) = await Kept.LoseAndRebuildAsync(options with { Storage = bucket });
            Assert.Empty(made.Lost);
            Assert.Empty((await Kept.CheckAsync(fresh)).Findings);
            return fresh;
        });

        Assert.Equal(before, await Kept.SeenAsync(server.Http));
    }

    [Fact]
    public async Task A_torn_tail_costs_what_was_in_it_and_nothing_else()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        var before = await Kept.SeenAsync(server.Http);
        await DrainAsync(server);
        await server.Http.PushAsync("z", Samples.Image(), "last");

        await server.RestartAsync(async options =>
        {
            var last = Segments(options)[^1];
            await using (var file = File.OpenWrite(last))
            {
                // The last line is the tag's.
                file.SetLength(file.Length - 20);
            }

            var (fresh, made) = await Kept.LoseAndRebuildAsync(options);
            Assert.Empty(made.Lost);
            return fresh;
        });

        Assert.Equal(HttpStatusOf(404), await server.Http.StatusAsync("GET", "z/manifests/last"));
        var seen = await Kept.SeenAsync(server.Http);
        Assert.Equal(before, seen.Replace("z: \n", "", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_damaged_snapshot_costs_nothing_since_the_one_before_is_there()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync(o => o with { JournalBytes = 100 });
        await Kept.FillAsync(server.Http);
        await DrainAsync(server);
        for (var i = 0; i < 60; i++)
        {
            await server.Http.PushAsync("c", Samples.Image(), $"t{i}");
        }

        await DrainAsync(server);
        var before = await Kept.SeenAsync(server.Http);
        await server.RestartAsync(async options =>
        {
            var snapshots = Segments(options).Where(s => s.EndsWith("snapshot", StringComparison.Ordinal)).ToList();
            Assert.Equal(2, snapshots.Count);
            var bytes = await File.ReadAllBytesAsync(snapshots[^1], Cancel);
            bytes[bytes.Length / 2] ^= 1;
            await File.WriteAllBytesAsync(snapshots[^1], bytes, Cancel);

            var (_, findings) = await Kept.CheckAsync(options);
            Assert.Equal("journal-damaged", Assert.Single(findings).Kind);
            var (fresh, made) = await Kept.LoseAndRebuildAsync(options);
            Assert.Single(made.Faults);
            Assert.Empty(made.Lost);
            return fresh;
        });

        Assert.Equal(before, await Kept.SeenAsync(server.Http));
    }

    [Fact]
    public async Task A_damaged_segment_is_found_while_the_database_is_there_and_written_anew()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await DrainAsync(server);
        await Kept.FillAsync(server.Http);
        var before = await Kept.SeenAsync(server.Http);
        await server.RestartAsync(async options =>
        {
            var segment = Segments(options).Last(s => new FileInfo(s).Length > 1000);
            var bytes = await File.ReadAllBytesAsync(segment, Cancel);
            bytes.AsSpan(300, 200).Fill((byte)'x');
            await File.WriteAllBytesAsync(segment, bytes, Cancel);

            var (summary, findings) = await Kept.CheckAsync(options);
            Assert.True(summary.Left > 0);
            Assert.All(findings, f => Assert.StartsWith("journal-", f.Kind, StringComparison.Ordinal));
            await Kept.CheckAsync(options, repair: true);
            Assert.Empty((await Kept.CheckAsync(options)).Findings);
            return (await Kept.LoseAndRebuildAsync(options)).Options;
        });

        Assert.Equal(before, await Kept.SeenAsync(server.Http));
    }

    [Fact]
    public async Task What_has_lost_its_bytes_is_told_and_the_rest_is_there()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        var image = await server.Http.PushAsync("c", Samples.Image(), "lost");
        await server.Http.PushAsync("c", Samples.Image(), "here");
        await server.RestartAsync(async options =>
        {
            File.Delete(BlobFile(options, Digest.Parse((string)image["digest"]!)));
            File.Delete(BlobFile(options, Digest.Of(Kept.Layer)));
            var (fresh, made) = await Kept.LoseAndRebuildAsync(options);
            Assert.Contains(
                made.Lost,
                l => l.Contains($"the manifest {image["digest"]} of c", StringComparison.Ordinal)
            );
            Assert.Contains(made.Lost, l => l.Contains("the tag c:lost", StringComparison.Ordinal));
            Assert.StartsWith(
                Path.Combine(options.DataDirectory, "journal.aside-"),
                made.JournalAside!,
                StringComparison.Ordinal
            );
            Assert.NotEmpty(Directory.GetFiles(made.JournalAside!));
            Assert.Contains(
                made.Lost,
                l => l.Contains($"the blob {Digest.Of(Kept.Layer)} of b", StringComparison.Ordinal)
            );
            return fresh;
        });

        Assert.Equal(["here"], await server.Http.TagsAsync("c"));
        // A push heals what a rebuild could not.
        await server.Http.PushBlobAsync("b", Kept.Layer);
        await server.Http.PushBlobAsync("a/app", Kept.Layer);
        await server.RestartAsync(async options =>
        {
            Assert.Equal(0, (await Kept.CheckAsync(options)).Summary.Left);
            return options;
        });
    }

    [Fact]
    public async Task Without_a_journal_nothing_is_made_and_the_database_stays()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await server.Http.PushAsync("a", Samples.Image(), "1");
        await server.RestartAsync(async options =>
        {
            Segments(options).ForEach(File.Delete);
            var e = await Assert.ThrowsAsync<ServerStartException>(() =>
                StateCheck.RebuildAsync(TestState.Fresh(options), Cancel)
            );
            Assert.Contains("there is no journal", e.Message, StringComparison.Ordinal);
            return options;
        });

        Assert.Equal(["1"], await server.Http.TagsAsync("a"));
        // … and a server that finds none writes one.
        await server.RestartAsync(async options => (await Kept.LoseAndRebuildAsync(options)).Options);
        Assert.Equal(["1"], await server.Http.TagsAsync("a"));
    }

    [Fact]
    public async Task The_journal_is_written_anew_before_it_grows_for_ever()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync(o => o with { JournalBytes = 1000 });
        for (var i = 0; i < 100; i++)
        {
            await server.Http.PushAsync("a", Samples.Image(), "same");
            await server.Http.StatusAsync("DELETE", $"a/manifests/same");
            if (i % 10 == 0)
            {
                await DrainAsync(server);
            }
        }

        await DrainAsync(server);

        var segments = new DirectoryInfo(Path.Combine(server.DataDirectory, "journal")).GetFiles();
        Assert.True(segments.Length <= 6, string.Join(' ', segments.Select(s => s.Name)));
        Assert.Null(
            server
                .Services.GetRequiredService<Database>()
                .Read(c => c.Scalar<long?>("SELECT id FROM journal_outbox LIMIT 1"))
        );
    }

    internal static List<string> Segments(ServerOptions options) =>
        [
            .. Directory
                .GetFiles(Path.Combine(options.DataDirectory, "journal"))
                .OrderBy(f => JournalSegment.Parse(Path.GetFileName(f))),
        ];

    internal static string BlobFile(ServerOptions options, Digest digest) =>
        Path.Combine(options.DataDirectory, "blobs", digest.Algorithm, digest.Encoded[..2], digest.Encoded);

    private static async Task DrainAsync(TestServer server) =>
        Assert.True(await server.Services.GetRequiredService<JournalWriter>().DrainAsync(Cancel));

    private static System.Net.HttpStatusCode HttpStatusOf(int status) => (System.Net.HttpStatusCode)status;
}
