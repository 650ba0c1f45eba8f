using System.Net;
using Kiln.Cli;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Metadata;
using Kiln.Tests.Cli;
using Kiln.Tests.Collection;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Checking;

/// <summary>What is wrong is found, what can be mended is mended, and what cannot is said.</summary>
public sealed class FsckTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Nothing_is_found_where_nothing_is_wrong()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        await server.RestartAsync(async options =>
        {
            var (summary, findings) = await Kept.CheckAsync(options);
            Assert.Empty(findings);
            Assert.True(summary is { Manifests: 10, Tags: 5 } && summary.Bytes > Kept.Layer.Length, summary.ToString());
            return options;
        });
    }

    [Fact]
    public async Task Nothing_is_found_where_the_collector_was_and_what_it_took_stays_away_in_a_rebuild()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await CollectedServer.StartAsync();
        await Kept.FillAsync(server.Http);
        var gone = await server.Http.PushAsync("passing", Samples.Image(), "1");
        var untagged = await server.Http.PushAsync("a/app", Samples.Image(), "untagged");
        Assert.Equal(HttpStatusCode.Accepted, await server.Http.StatusAsync("DELETE", "a/app/manifests/untagged"));
        Assert.Equal(
            HttpStatusCode.Accepted,
            await server.Http.StatusAsync("DELETE", $"passing/manifests/{gone["digest"]}")
        );
        await server.CollectAsync();
        Assert.True(server.HasFile(Digest.Parse((string)untagged["digest"]!)));

        await server.CollectAllAsync();

        Assert.False(server.HasFile(Digest.Parse((string)gone["digest"]!)));
        Assert.False(server.HasFile(Digest.Parse((string)untagged["digest"]!)));
        var tags = await server.Http.TagsAsync("a/app");
        foreach (var tag in tags)
        {
            using var kept = await server.Http.GetAsync($"a/app/manifests/{tag}");
            Assert.True(server.HasFile(Digest.Parse(kept.Header("Docker-Content-Digest")!)));
        }

        var before = await Kept.SeenOfAsync(server.Http, "a/app");
        await server.Server.RestartAsync(async options =>
        {
            Assert.Empty((await Kept.CheckAsync(options)).Findings);
            var (fresh, made) = await Kept.LoseAndRebuildAsync(options);
            Assert.Empty(made.Lost);
            Assert.Empty((await Kept.CheckAsync(fresh)).Findings);
            return fresh;
        });
        Assert.Equal(before, await Kept.SeenOfAsync(server.Http, "a/app"));
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", "passing/tags/list"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Flipped_byte_is_found_moved_aside_and_healed_by_a_push(bool alsoShorter)
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        var before = await Kept.SeenAsync(server.Http);
        var digest = Digest.Of(Kept.Layer);
        await server.RestartAsync(async options =>
        {
            var file = RebuildTests.BlobFile(options, digest);
            var bytes = await File.ReadAllBytesAsync(file, Cancel);
            bytes[1000] ^= 1;
            await File.WriteAllBytesAsync(file, bytes[..^(alsoShorter ? 1 : 0)], Cancel);

            // A size tells itself; what only the digest tells, --quick does not see.
            Assert.Equal(alsoShorter ? 1 : 0, (await Kept.CheckAsync(options, quick: true)).Summary.Left);
            var (_, findings) = await Kept.CheckAsync(options);
            var finding = Assert.Single(findings);
            Assert.Equal(("blob-corrupt", digest.ToString()), (finding.Kind, finding.Subject));
            Assert.Contains("a/app, b", finding.Meaning, StringComparison.Ordinal);

            var (summary, _) = await Kept.CheckAsync(options, repair: true);
            Assert.True(summary.Left > 0, "images that lack the blob are still wrong");
            Assert.True(File.Exists(Path.Combine(options.DataDirectory, "quarantine", $"sha256-{digest.Encoded}")));
            return options;
        });

        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("HEAD", $"a/app/blobs/{digest}"));
        await server.Http.PushBlobAsync("a/app", Kept.Layer);
        await server.Http.PushBlobAsync("b", Kept.Layer);
        Assert.Equal(before, await Kept.SeenAsync(server.Http));
        await server.RestartAsync(async options =>
        {
            Assert.Empty((await Kept.CheckAsync(options)).Findings);
            return options;
        });
    }

    [Fact]
    public async Task Missing_blob_is_found_and_a_push_of_it_is_no_longer_left_out()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        var digest = Digest.Of(Kept.Layer);
        await server.RestartAsync(async options =>
        {
            File.Delete(RebuildTests.BlobFile(options, digest));
            Assert.Equal("blob-missing", Assert.Single((await Kept.CheckAsync(options, quick: true)).Findings).Kind);
            await Kept.CheckAsync(options, repair: true);
            return options;
        });

        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("HEAD", $"b/blobs/{digest}"));
    }

    [Theory]
    [InlineData("UPDATE blobs SET size = size + 1 WHERE size > 1000", "blob-size")]
    [InlineData(
        "UPDATE tags SET digest = 'sha256:' || substr(digest, 8, 63) || 'z' WHERE name = 'latest'",
        "tag-dangling"
    )]
    [InlineData("DELETE FROM manifest_references WHERE kind = 'layer'", "manifest-rows")]
    [InlineData("UPDATE manifests SET subject = NULL", "manifest-rows")]
    [InlineData("DELETE FROM repository_blobs", "link-missing")]
    [InlineData("UPDATE manifests SET content = substr(content, 2) WHERE subject IS NULL", "manifest-corrupt")]
    [InlineData("DELETE FROM journal_outbox", "journal-lacks")]
    public async Task Rows_that_are_wrong_are_set_right(string damage, string kind)
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync(services: s =>
            // No writer: what is damaged stays in the outbox.
            s.AddSingleton<TimeProvider>(
                kind == "journal-lacks"
                    ? new Microsoft.Extensions.Time.Testing.FakeTimeProvider(TimeProvider.System.GetUtcNow())
                    : TimeProvider.System
            )
        );
        if (kind == "journal-lacks")
        {
            // So that there is a snapshot already.
            await server.Http.PushAsync("first", Samples.Image(), "1");
            await server.Services.GetRequiredService<Kiln.Server.Journal.JournalWriter>().DrainAsync(Cancel);
        }

        await Kept.FillAsync(server.Http);
        var before = await Kept.SeenAsync(server.Http);
        if (kind != "journal-lacks")
        {
            await server.Services.GetRequiredService<Kiln.Server.Journal.JournalWriter>().DrainAsync(Cancel);
        }

        await server.Services.GetRequiredService<Database>().WriteAsync(t => t.Run(damage), Cancel);
        await server.RestartAsync(async options =>
        {
            var (_, findings) = await Kept.CheckAsync(options);
            Assert.Contains(findings, f => f.Kind == kind && f.CanBeMended);
            var (mended, _) = await Kept.CheckAsync(options, repair: true);
            Assert.Equal(0, mended.Left);
            var again = await Kept.CheckAsync(options);
            Assert.Empty(again.Findings);
            return options;
        });

        var after = await Kept.SeenAsync(server.Http);
        if (kind != "tag-dangling")
        {
            Assert.Equal(before, after);
        }
    }

    [Fact]
    public async Task Bytes_that_no_row_knows_are_adopted()
    {
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        await server.RestartAsync(async options =>
        {
            var bytes = Samples.Bytes(50);
            var file = RebuildTests.BlobFile(options, Digest.Of(bytes));
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            await File.WriteAllBytesAsync(file, bytes, Cancel);
            Assert.Equal(
                "blob-without-row",
                Assert.Single((await Kept.CheckAsync(options, repair: true)).Findings).Kind
            );
            Assert.Empty((await Kept.CheckAsync(options)).Findings);
            return options;
        });
    }

    [Fact]
    public async Task The_command_says_what_is_wrong_and_ends_with_one_until_nothing_is()
    {
        Assert.SkipWhen(
            TestState.IsPostgres,
            "NOT RUN: the command line is the same for both; this has its own database"
        );
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        var (busy, _, why) = await FsckAsync(server.DataDirectory);
        Assert.Equal(ExitCodes.NotPossible, busy);
        Assert.Contains("in use by another kiln", why, StringComparison.Ordinal);
        await server.RestartAsync(async options =>
        {
            Assert.Equal(ExitCodes.Ok, (await FsckAsync(options.DataDirectory)).Code);
            File.Delete(RebuildTests.BlobFile(options, Digest.Of(Kept.Layer)));
            var (code, output, _) = await FsckAsync(options.DataDirectory);
            Assert.Equal(1, code);
            Assert.Contains($"WRONG: blob-missing {Digest.Of(Kept.Layer)}", output, StringComparison.Ordinal);
            Assert.Contains("with --repair no repository sees the blob any more", output, StringComparison.Ordinal);
            var (_, json, _) = await FsckAsync(options.DataDirectory, "--json", "--quick");
            Assert.All(json.TrimEnd().Split('\n'), line => System.Text.Json.JsonDocument.Parse(line).Dispose());
            Assert.Contains("\"kind\":\"blob-missing\"", json, StringComparison.Ordinal);

            File.Delete(Path.Combine(options.DataDirectory, "kiln.db"));
            var (lost, _, advice) = await FsckAsync(options.DataDirectory);
            Assert.Equal(ExitCodes.NotPossible, lost);
            Assert.Contains("--rebuild", advice, StringComparison.Ordinal);
            var (rebuilt, made, _) = await FsckAsync(options.DataDirectory, "--rebuild");
            Assert.Equal(1, rebuilt);
            Assert.Contains($"lost: the blob {Digest.Of(Kept.Layer)} of b", made, StringComparison.Ordinal);
            return options;
        });
        var (nowhere, _, nothing) = await FsckAsync(Path.Combine(server.DataDirectory, "nowhere"));
        Assert.Equal(ExitCodes.NotPossible, nowhere);
        Assert.Contains("no data directory", nothing, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_database_that_is_no_database_any_more_is_told_and_made_anew()
    {
        Assert.SkipWhen(TestState.IsPostgres, "NOT RUN: a PostgreSQL is not a file");
        TestState.RequireFiles();
        TestState.RequireOneServer("the check is of stopped servers");
        await using var server = await TestServer.StartAsync();
        await Kept.FillAsync(server.Http);
        var before = await Kept.SeenAsync(server.Http);
        await server.RestartAsync(async options =>
        {
            await File.WriteAllBytesAsync(Path.Combine(options.DataDirectory, "kiln.db"), Samples.Bytes(8192), Cancel);
            var (code, _, why) = await FsckAsync(options.DataDirectory);
            Assert.Equal(ExitCodes.NotPossible, code);
            Assert.Contains("--rebuild", why, StringComparison.Ordinal);
            Assert.Equal(ExitCodes.Ok, (await FsckAsync(options.DataDirectory, "--rebuild")).Code);
            Assert.Single(Directory.GetFiles(options.DataDirectory, "kiln.db.aside-*"));
            return options;
        });
        Assert.Equal(before, await Kept.SeenAsync(server.Http));
    }

    private static async Task<(int Code, string Output, string Error)> FsckAsync(string data, params string[] options)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await CommandLine.RunAsync(["fsck", "--data", data, .. options], TestShell.Create(output, error));
        return (code, output.ToString(), error.ToString());
    }
}
