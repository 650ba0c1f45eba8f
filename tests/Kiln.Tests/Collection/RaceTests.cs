using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Text.Json.Nodes;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Collection;

/// <summary>
/// Collection at full speed, with graces of half a second, beside clients at full speed who push, mount, move, delete and pull
/// the same few blobs: what was acknowledged is there, and no pull misses a byte.
/// </summary>
public sealed class RaceTests
{
    private const int Clients = 6;
    private const int Repositories = 3;
    private static readonly TimeSpan Grace = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Run = TimeSpan.FromSeconds(12);

    // So few that each is deleted and comes again many times.
    private readonly byte[][] _layers = [.. Enumerable.Range(0, 150).Select(_ => Samples.Bytes(2000))];
    private readonly ConcurrentBag<string> _faults = [];
    private int _pushed;
    private int _pulled;
    private int _skipped;

    [Fact]
    public async Task No_pull_misses_bytes_and_no_acknowledged_push_is_lost()
    {
        await using var server = await TestServer.StartAsync(options =>
            options with
            {
                Collection = options.Collection with
                {
                    Enabled = false,
                    Pause = TimeSpan.Zero,
                    Grace = Grace,
                    BytesGrace = Grace / 4,
                    KeepUntagged = Grace,
                },
            }
        );
        var http = server.Http;
        for (var i = 0; i < Repositories; i++)
        {
            await http.PushBlobAsync($"race/r{i}", Samples.EmptyJson);
        }

        using var stop = new CancellationTokenSource(Run);
        var clients = Enumerable.Range(0, Clients).Select(i => ClientAsync(http, i, stop.Token)).ToList();
        var collected = await CollectAsync(http, stop.Token);
        var left = (await Task.WhenAll(clients)).SelectMany(tags => tags).ToList();

        foreach (var (repository, tag, content) in left)
        {
            await PullAsync(http, repository, tag, content, owned: true);
        }

        Assert.Empty(_faults);
        Assert.True(_pushed > 20 && _pulled > 20, $"{_pushed} pushed, {_pulled} pulled");
        Assert.True(collected > 0, "no blob was collected: this shows nothing");
        await AssertRowsHaveBytesAsync(server);
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{_pushed} images pushed, {_skipped} blobs told of instead of pushed, {_pulled} pulled, {collected} blobs collected"
        );
    }

    private static async Task<int> CollectAsync(HttpClient http, CancellationToken stop)
    {
        var collected = 0;
        while (!stop.IsCancellationRequested)
        {
            var items = await CollectedServer.CollectAsync(http);
            collected += items.Count(i => i is { Kind: CollectionKinds.Blob, Action: CollectionActions.Deleted });
        }

        return collected;
    }

    // One client with tags of its own, so that it knows what has to be there.
    private async Task<List<(string Repository, string Tag, byte[] Content)>> ClientAsync(
        HttpClient http,
        int number,
        CancellationToken stop
    )
    {
        var random = new Random(number);
        var mine = new Dictionary<(string, string), byte[]>();
        while (!stop.IsCancellationRequested)
        {
            var (repository, tag) = ($"race/r{random.Next(Repositories)}", $"c{number}-{random.Next(2)}");
            switch (random.Next(4))
            {
                case 0 when mine.ContainsKey((repository, tag)):
                    await DeleteAsync(http, repository, mine[(repository, tag)], tag, random.Next(2) == 0);
                    mine.Remove((repository, tag));
                    break;
                case 1 when mine.Count > 0:
                    // The client itself moves it, so it is whole at every moment.
                    var (held, content) = mine.ElementAt(random.Next(mine.Count));
                    await PullAsync(http, held.Item1, held.Item2, content, owned: true);
                    break;
                case 2:
                    await PullAsync(http, repository, $"c{random.Next(Clients)}-0", expected: null, owned: false);
                    break;
                default:
                    if (await PushAsync(http, repository, tag, random) is { } pushed)
                    {
                        mine[(repository, tag)] = pushed;
                    }

                    break;
            }
        }

        return [.. mine.Select(m => (m.Key.Item1, m.Key.Item2, m.Value))];
    }

    // As clients do: what the registry says that it has is not pushed.
    private async Task<byte[]?> PushAsync(HttpClient http, string repository, string tag, Random random)
    {
        var layers = _layers.OrderBy(_ => random.Next()).Take(3).Append(Samples.EmptyJson).ToList();
        var clock = Stopwatch.StartNew();
        foreach (var layer in layers)
        {
            var digest = Digest.Of(layer);
            using var head = await http.SendAsync("HEAD", $"{repository}/blobs/{digest}");
            if (head.StatusCode == HttpStatusCode.OK)
            {
                Interlocked.Increment(ref _skipped);
                continue;
            }

            using var mount = await http.SendAsync("POST", $"{repository}/blobs/uploads/?mount={digest}");
            if (mount.StatusCode == HttpStatusCode.Accepted)
            {
                using var put = await http.PutUploadAsync(mount.Headers.Location!.ToString(), digest, layer);
                if (put.StatusCode != HttpStatusCode.Created)
                {
                    // It may be told to come again, never that all is well.
                    Expect(put.StatusCode == HttpStatusCode.ServiceUnavailable, $"blob PUT: {put.StatusCode}");
                    return null;
                }
            }
        }

        var image = Samples.Image(layers.Select(l => Samples.Descriptor(l, MediaTypes.OciLayerTar))).Encode();
        using var pushed = await http.PutManifestAsync(repository, tag, image);
        if (pushed.StatusCode != HttpStatusCode.Created)
        {
            Expect(clock.Elapsed >= Grace, $"manifest PUT after {clock.Elapsed}: {pushed.StatusCode}");
            return null;
        }

        Interlocked.Increment(ref _pushed);
        return image;
    }

    private async Task PullAsync(HttpClient http, string repository, string tag, byte[]? expected, bool owned)
    {
        var clock = Stopwatch.StartNew();
        using var manifest = await http.GetAsync($"{repository}/manifests/{tag}");
        if (manifest.StatusCode == HttpStatusCode.NotFound && !owned)
        {
            return;
        }

        var content = await manifest.Content.ReadAsByteArrayAsync();
        Expect(
            expected is null || content.AsSpan().SequenceEqual(expected),
            $"{repository}:{tag} is {manifest.StatusCode}, not what was acknowledged"
        );
        foreach (var layer in (JsonNode.Parse(content)!["layers"] as JsonArray) ?? [])
        {
            using var blob = await http.GetAsync($"{repository}/blobs/{layer!["digest"]}");
            var whole =
                blob.StatusCode == HttpStatusCode.OK
                && Digest.Of(await blob.Content.ReadAsByteArrayAsync()).ToString() == (string?)layer["digest"];
            // Somebody else's may have been deleted on the way; its blobs stay for the grace.
            Expect(
                whole || (!owned && clock.Elapsed >= Grace),
                $"{repository}:{tag} lacks {layer["digest"]} after {clock.Elapsed}: {blob.StatusCode}"
            );
        }

        Interlocked.Increment(ref _pulled);
    }

    private async Task DeleteAsync(HttpClient http, string repository, byte[] content, string tag, bool byDigest)
    {
        var reference = byDigest ? Digest.Of(content).ToString() : tag;
        using var deleted = await http.SendAsync("DELETE", $"{repository}/manifests/{reference}");
        Expect(deleted.StatusCode == HttpStatusCode.Accepted, $"DELETE {reference}: {deleted.StatusCode}");
    }

    private void Expect(bool condition, string fault)
    {
        if (!condition)
        {
            _faults.Add(fault);
        }
    }

    private static async Task AssertRowsHaveBytesAsync(TestServer server)
    {
        var digests = server
            .Services.GetRequiredService<Database>()
            .Read(c => c.Query("SELECT digest FROM blobs", row => Digest.Parse(row.GetString(0))));
        var store = server.Services.GetRequiredService<IBlobStore>();
        foreach (var digest in digests)
        {
            Assert.NotNull(await store.SizeAsync(digest, TestContext.Current.CancellationToken));
        }
    }
}
