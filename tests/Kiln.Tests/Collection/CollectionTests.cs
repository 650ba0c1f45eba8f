using System.Net;
using System.Text.Json.Nodes;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Collection;

/// <summary>What a collection removes, what it leaves alone, and when.</summary>
public sealed class CollectionTests
{
    private static readonly TimeSpan Hour = TimeSpan.FromHours(1);
    private static readonly TimeSpan Day = TimeSpan.FromDays(1);

    [Fact]
    public async Task What_is_tagged_stays_for_ever_with_all_that_it_needs()
    {
        await using var server = await CollectedServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var blob = await server.Http.PushBlobAsync("a/b", layer);
        var child = await server.Http.PushAsync(
            "a/b",
            Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar))
        );
        var index = await server.Http.PushAsync("a/b", Samples.Index(child), "1");
        var signature = await server.Http.PushAsync(
            "a/b",
            Samples.Referrer((JsonObject)child.DeepClone(), "application/signature")
        );
        var second = await server.Http.PushAsync(
            "a/b",
            Samples.Referrer((JsonObject)signature.DeepClone(), "application/note")
        );

        await server.CollectAllAsync();

        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"a/b/blobs/{blob}"));
        foreach (var kept in new[] { child, index, signature, second })
        {
            Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"a/b/manifests/{kept["digest"]}"));
        }
    }

    [Fact]
    public async Task A_deleted_image_gives_its_bytes_back_and_its_repository_is_gone()
    {
        await using var server = await CollectedServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var blob = await server.Http.PushBlobAsync("a/b", layer);
        var image = await server.Http.PushAsync(
            "a/b",
            Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar)),
            "1"
        );
        await server.Http.StatusAsync("DELETE", $"a/b/manifests/{image["digest"]}");

        await server.CollectAsync();
        server.Time.Advance(23 * Hour);
        await server.CollectAsync();
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"a/b/blobs/{blob}"));

        // The client asked for it: from now on it has a day again.
        await server.CollectAsync();
        server.Time.Advance(Day);
        var items = await server.CollectAsync();
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", $"a/b/blobs/{blob}"));
        Assert.True(server.HasFile(blob));

        server.Time.Advance(Hour);
        items.AddRange(await server.CollectAsync());

        Assert.False(server.HasFile(blob));
        Assert.Contains(
            items,
            i => i.Kind == CollectionKinds.Blob && i.Reference == blob.ToString() && i.Bytes == 1000
        );
        Assert.Contains(items, i => i is { Kind: CollectionKinds.Repository, Reference: "a/b" });
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", "a/b/tags/list"));
    }

    [Fact]
    public async Task An_untagged_image_stays_thirty_days_from_when_it_lost_its_tag()
    {
        await using var server = await CollectedServer.StartAsync();
        var first = await server.Http.PushAsync("a/b", Samples.Image(), "1");
        server.Time.Advance(100 * Day);
        await server.CollectAsync();
        await server.Http.PushAsync("a/b", Samples.Image(), "1");

        await server.CollectAsync();
        server.Time.Advance(29 * Day);
        var items = await server.CollectAsync();
        var waiting = Assert.Single(items, i => i.Kind == CollectionKinds.Manifest);
        Assert.Equal((CollectionActions.Wait, (string?)first["digest"]), (waiting.Action, waiting.Reference));
        server.Time.Advance(Day);
        items = await server.CollectAsync();

        Assert.Single(items, i => i is { Kind: CollectionKinds.Manifest, Action: CollectionActions.Deleted });
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", $"a/b/manifests/{first["digest"]}"));
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "a/b/manifests/1"));
    }

    [Fact]
    public async Task An_untagged_image_that_is_tagged_again_starts_over()
    {
        await using var server = await CollectedServer.StartAsync();
        var image = Samples.Image();
        var first = await server.Http.PushAsync("a/b", image, "1");
        await server.Http.StatusAsync("DELETE", "a/b/manifests/1");
        await server.CollectAsync();
        server.Time.Advance(29 * Day);
        await server.Http.PushAsync("a/b", image, "2");
        await server.Http.StatusAsync("DELETE", "a/b/manifests/2");
        server.Time.Advance(2 * Day);

        await server.CollectAsync();
        await server.CollectAsync();

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"a/b/manifests/{first["digest"]}"));
    }

    [Fact]
    public async Task What_an_index_listed_goes_a_day_after_it()
    {
        await using var server = await CollectedServer.StartAsync();
        var child = await server.Http.PushAsync("a/b", Samples.Image());
        var signature = await server.Http.PushAsync("a/b", Samples.Referrer((JsonObject)child.DeepClone(), "a/b"));
        var index = await server.Http.PushAsync("a/b", Samples.Index((JsonObject)child.DeepClone()));
        await server.CollectAsync();
        server.Time.Advance(30 * Day);

        await server.CollectAsync();
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", $"a/b/manifests/{index["digest"]}"));
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("HEAD", $"a/b/manifests/{signature["digest"]}"));
        server.Time.Advance(Day);
        await server.CollectAsync();
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", $"a/b/manifests/{child["digest"]}"));
        server.Time.Advance(Day);
        await server.CollectAsync();

        Assert.Equal(
            HttpStatusCode.NotFound,
            await server.Http.StatusAsync("GET", $"a/b/manifests/{signature["digest"]}")
        );
    }

    [Fact]
    public async Task Whoever_is_told_that_a_blob_is_there_can_push_a_manifest_with_it()
    {
        await using var server = await CollectedServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var blob = await server.Http.PushBlobAsync("a/b", layer);
        await server.Http.PushBlobAsync("a/b", Samples.EmptyJson);
        await server.CollectAsync();
        server.Time.Advance(Day);

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("HEAD", $"a/b/blobs/{blob}"));
        Assert.Equal(
            HttpStatusCode.OK,
            await server.Http.StatusAsync("HEAD", $"a/b/blobs/{Digest.Of(Samples.EmptyJson)}")
        );
        await server.CollectAsync();
        server.Time.Advance(Day - Hour);
        await server.CollectAsync();

        var image = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar));
        using var pushed = await server.Http.PutManifestAsync("a/b", "1", image.Encode());
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        await server.CollectAllAsync();
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"a/b/blobs/{blob}"));
    }

    [Fact]
    public async Task Whoever_is_told_that_a_manifest_is_there_can_push_an_index_with_it()
    {
        await using var server = await CollectedServer.StartAsync();
        var child = await server.Http.PushAsync("a/b", Samples.Image());
        await server.CollectAsync();
        server.Time.Advance(30 * Day);

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("HEAD", $"a/b/manifests/{child["digest"]}"));
        await server.CollectAsync();
        server.Time.Advance(12 * Hour);
        await server.CollectAsync();

        await server.Http.PushAsync("a/b", Samples.Index(child), "1");
    }

    [Fact]
    public async Task A_blob_is_taken_from_one_repository_and_stays_in_another()
    {
        await using var server = await CollectedServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var blob = await server.Http.PushBlobAsync("a/b", layer);
        var mounted = await server.Http.StatusAsync("POST", $"c/d/blobs/uploads/?mount={blob}&from=a/b");
        Assert.Equal(HttpStatusCode.Created, mounted);
        await server.Http.PushAsync("c/d", Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar)), "1");

        await server.CollectAllAsync();

        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", $"a/b/blobs/{blob}"));
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"c/d/blobs/{blob}"));
    }

    [Fact]
    public async Task A_blob_that_was_collected_can_be_pushed_again()
    {
        await using var server = await CollectedServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var blob = await server.Http.PushBlobAsync("a/b", layer);
        await server.CollectAllAsync();
        Assert.False(server.HasFile(blob));
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("HEAD", $"a/b/blobs/{blob}"));

        await server.Http.PushBlobAsync("a/b", layer);

        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"a/b/blobs/{blob}"));
        await server.CollectAllAsync();
        Assert.False(server.HasFile(blob));
    }

    [Fact]
    public async Task A_dry_run_says_what_would_go_and_why_and_changes_nothing()
    {
        await using var server = await CollectedServer.StartAsync();
        var image = await server.Http.PushAsync("a/b", Samples.Image());
        Assert.NotNull(Assert.Single(await server.CollectAsync(dryRun: true)).Due);
        await server.CollectAsync();
        server.Time.Advance(30 * Day);

        for (var i = 0; i < 3; i++)
        {
            var item = Assert.Single(
                await server.CollectAsync(dryRun: true),
                item => item.Action == CollectionActions.Delete
            );
            Assert.Equal((string?)image["digest"], item.Reference);
            Assert.Equal("a/b", item.Repository);
            Assert.Contains("no tag", item.Reason, StringComparison.Ordinal);
            Assert.Contains("30 days", item.Reason, StringComparison.Ordinal);
        }

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"a/b/manifests/{image["digest"]}"));
    }

    [Fact]
    public async Task An_abandoned_upload_is_told_of_and_removed()
    {
        await using var server = await CollectedServer.StartAsync();
        var (location, item) = await AbandonAsync(server);
        // The server's own look at its start may have come that late, and is not told of.
        if (item is null)
        {
            (location, item) = await AbandonAsync(server);
        }

        Assert.NotNull(item);
        Assert.EndsWith(item.Reference, location, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", location));
    }

    private static async Task<(string Location, CollectionItem? Item)> AbandonAsync(CollectedServer server)
    {
        var location = await server.Http.StartUploadAsync("a/b");
        server.Time.Advance(25 * Hour);
        return (location, (await server.CollectAsync()).SingleOrDefault(i => i.Kind == CollectionKinds.Upload));
    }

    [Theory]
    [InlineData(true, 3)]
    [InlineData(false, 3)]
    [InlineData(true, 24 * 60)]
    public async Task A_deletion_that_a_killed_server_began_is_ended_by_the_push_that_meets_it(
        bool bytesAreGone,
        int minutes
    )
    {
        await using var server = await CollectedServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var blob = await server.Http.PushBlobAsync("a/b", layer);
        await server.Http.StatusAsync("DELETE", $"a/b/blobs/{blob}");
        // Where the kill would leave it: the row gone, the mark there, the bytes perhaps.
        await server
            .Server.Services.GetRequiredService<Database>()
            .WriteAsync(
                transaction =>
                {
                    transaction.Run("DELETE FROM blobs WHERE digest = @digest", ("digest", blob.ToString()));
                    transaction.Run(
                        """
                        INSERT INTO condemned_blobs (digest, state, since, sweep, owner)
                        VALUES (@digest, 'deleting', @since, 'lost', 'a server that is gone')
                        """,
                        ("digest", blob.ToString()),
                        ("since", server.Time.GetUtcNow().AddMinutes(-minutes).ToUnixTimeMilliseconds())
                    );
                },
                TestContext.Current.CancellationToken
            );
        if (bytesAreGone)
        {
            File.Delete(Path.Combine(server.Server.DataDirectory, "blobs", "sha256", blob.Encoded[..2], blob.Encoded));
        }

        await server.Http.PushBlobAsync("a/b", layer);
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"a/b/blobs/{blob}"));
        await server.Http.StatusAsync("DELETE", $"a/b/blobs/{blob}");
        await server.CollectAllAsync();
        Assert.False(server.HasFile(blob));
    }

    [Fact]
    public async Task Bytes_that_went_after_they_were_stored_are_not_recorded()
    {
        await using var server = await CollectedServer.StartAsync();
        var layer = Samples.Bytes(1000);
        var blob = Digest.Of(layer);
        var condemned = server.Server.Services.GetRequiredService<CondemnedBlobs>();
        // A whole deletion between a push's storing and its recording: the mark tells, and the bytes are looked for.
        await server
            .Server.Services.GetRequiredService<Database>()
            .WriteAsync(
                transaction =>
                    transaction.Run(
                        """
                        INSERT INTO condemned_blobs (digest, state, since, sweep, owner)
                        VALUES (@digest, 'deleted', @now, 'one', 'x')
                        """,
                        ("digest", blob.ToString()),
                        ("now", server.Time.GetUtcNow().ToUnixTimeMilliseconds())
                    ),
                TestContext.Current.CancellationToken
            );

        var refused = await Assert.ThrowsAsync<OciException>(() =>
            condemned.RecordAsync([blob], _ => true, TestContext.Current.CancellationToken)
        );
        Assert.Equal(ErrorCodes.Unavailable, refused.Error.Code);

        // And stored again they are.
        await server.Http.PushBlobAsync("a/b", layer);
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"a/b/blobs/{blob}"));
    }

    [Fact]
    public async Task The_schedule_collects_by_itself()
    {
        await using var server = await TestServer.StartAsync(options =>
            options with
            {
                Collection = options.Collection with
                {
                    FirstAfter = TimeSpan.Zero,
                    Interval = TimeSpan.FromMilliseconds(50),
                    Grace = TimeSpan.FromMilliseconds(100),
                    BytesGrace = TimeSpan.FromMilliseconds(100),
                },
            }
        );
        var blob = await server.Http.PushBlobAsync("a/b", Samples.Bytes(1000));
        var store = server.Services.GetRequiredService<IBlobStore>();

        using var timeout = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (await store.SizeAsync(blob, timeout.Token) is not null)
        {
            await Task.Delay(10, timeout.Token);
        }
    }
}
