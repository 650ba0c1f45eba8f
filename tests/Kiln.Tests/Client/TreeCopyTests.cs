using System.Net;
using System.Text.Json.Nodes;
using Kiln.Client;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Client;

/// <summary>Copies between two real registries; faults by one that a test can have answer anything.</summary>
public sealed class TreeCopyTests : IDisposable
{
    private readonly RegistryClient _client = new(
        new RegistryClientOptions { FirstPause = TimeSpan.FromMilliseconds(1) }
    );

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _client.Dispose();

    [Fact]
    public async Task An_index_comes_with_all_that_it_refers_to_and_nothing_is_sent_twice()
    {
        await using var from = await TestServer.StartAsync();
        await using var to = await TestServer.StartAsync();
        var layer = Samples.Bytes(2 << 20);
        var index = await PushIndexAsync(from, layer, "1");

        var first = await CopyAsync(from, to, "1");
        var second = await CopyAsync(from, to, "1");

        Assert.Equal(
            await from.Http.GetByteArrayAsync("a/manifests/1", Cancel),
            await to.Http.GetByteArrayAsync("b/manifests/1", Cancel)
        );
        Assert.Equal(layer, await to.Http.GetByteArrayAsync($"b/blobs/{Digest.Of(layer)}", Cancel));
        foreach (var child in index["manifests"]!.AsArray())
        {
            Assert.Equal(HttpStatusCode.OK, await to.Http.StatusAsync("HEAD", $"b/manifests/{child!["digest"]}"));
        }

        Assert.Equal((3, 3), (first.Manifests, first.Blobs));
        Assert.Equal((0, 0, 0), (second.Manifests, second.Blobs, second.Bytes));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Referrers_of_the_image_its_children_and_of_referrers_come_along_when_asked_for(bool referrers)
    {
        await using var from = await TestServer.StartAsync();
        await using var to = await TestServer.StartAsync();
        var index = await PushIndexAsync(from, Samples.Bytes(10), "1");
        var subject = Samples.Descriptor(index.Encode(), MediaTypes.OciIndex);
        var signature = await from.Http.PushAsync("a", Samples.Referrer(subject, "x/signature"));
        var child = (JsonObject)index["manifests"]![0]!.DeepClone();
        var bill = await from.Http.PushAsync("a", Samples.Referrer(child, "x/bill"));
        var second = await from.Http.PushAsync(
            "a",
            Samples.Referrer((JsonObject)signature.DeepClone(), "x/countersignature")
        );
        // What is there already must not hide what refers to it.
        await CopyAsync(from, to, "1");

        await CopyAsync(from, to, "1", new CopyOptions { Referrers = referrers });

        foreach (var manifest in new[] { signature, bill, second })
        {
            Assert.Equal(
                referrers ? HttpStatusCode.OK : HttpStatusCode.NotFound,
                await to.Http.StatusAsync("HEAD", $"b/manifests/{manifest["digest"]}")
            );
        }
    }

    [Fact]
    public async Task Entries_that_are_not_taken_stay_and_the_sparse_index_is_for_the_registry_to_judge()
    {
        await using var from = await TestServer.StartAsync();
        await using var to = await TestServer.StartAsync(o => o with { Sparse = Kiln.Server.SparseManifests.Indexes });
        var index = await PushIndexAsync(from, Samples.Bytes(10), "1");
        var wanted = (string)index["manifests"]![1]!["digest"]!;

        await CopyAsync(from, to, "1", new CopyOptions { Takes = child => child.Digest.ToString() == wanted });

        Assert.Equal(HttpStatusCode.OK, await to.Http.StatusAsync("HEAD", $"b/manifests/{wanted}"));
        Assert.Equal(
            HttpStatusCode.NotFound,
            await to.Http.StatusAsync("HEAD", $"b/manifests/{index["manifests"]![0]!["digest"]}")
        );
    }

    [Fact]
    public async Task Within_a_registry_blobs_are_mounted_and_a_manifest_of_another_algorithm_keeps_it()
    {
        await using var server = await TestServer.StartAsync();
        var layer = Samples.Bytes(3 << 20);
        await server.Http.PushBlobAsync("a", layer);
        await server.Http.PushBlobAsync("a", Samples.EmptyJson);
        var image = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar)).Encode();
        var digest = Digest.Of(image, Digest.Sha512);
        using var pushed = await server.Http.PutManifestAsync("a", $"{digest}?tag=1", image);

        var tally = await CopyAsync(server, server, "1", mount: true);

        Assert.Equal((1, 0), (tally.Manifests, tally.Blobs));
        using var copied = await server.Http.GetAsync("b/manifests/1", Cancel);
        Assert.Equal(digest.ToString(), copied.Header("Docker-Content-Digest"));
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"b/blobs/{Digest.Of(layer)}", Cancel));
    }

    [Fact]
    public async Task A_source_that_breaks_off_is_read_on_from_there()
    {
        await using var source = await TestRegistry.StartAsync();
        await using var to = await TestServer.StartAsync();
        var layer = source.AddBlob(TestRegistry.Random(4 << 20));
        source.AddBlob(Samples.EmptyJson);
        source.AddManifest("1", MediaTypes.OciManifest, Image(layer));
        var ranges = 0;
        source.Intercept = async http =>
        {
            if (!http.Request.Path.Value!.EndsWith(layer.Digest.ToString(), StringComparison.Ordinal))
            {
                return false;
            }

            if (http.Request.Headers.Range.Count > 0)
            {
                ranges++;
                return false;
            }

            http.Response.ContentLength = layer.Size;
            await http.Response.Body.WriteAsync(source.Blobs[layer.Digest.ToString()].AsMemory(0, 1 << 20), Cancel);
            await http.Response.Body.FlushAsync(Cancel);
            http.Abort();
            return true;
        };

        var tally = await CopyAsync(source.Host, Host(to), "1");

        Assert.Equal((1, 2), (tally.Manifests, tally.Blobs));
        Assert.Equal(1, ranges);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_blob_of_another_length_than_announced_is_the_sources_fault(bool longer)
    {
        await using var source = await TestRegistry.StartAsync();
        await using var to = await TestServer.StartAsync();
        var layer = source.AddBlob(TestRegistry.Random(100));
        source.AddBlob(Samples.EmptyJson);
        source.AddManifest("1", MediaTypes.OciManifest, Image(layer with { Size = longer ? 99 : 101 }));

        var e = await Assert.ThrowsAsync<RegistryException>(() => CopyAsync(source.Host, Host(to), "1"));

        Assert.Equal(RegistryFault.Broken, e.Fault);
        Assert.Contains($"getting blob {layer.Digest} of {source.Host}/a", e.Message, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.NotFound, await to.Http.StatusAsync("HEAD", "b/manifests/1"));
    }

    [Fact]
    public async Task A_registry_without_the_referrers_api_gets_and_gives_them_by_tag()
    {
        await using var from = await TestServer.StartAsync();
        await using var target = await TestRegistry.StartAsync();
        await using var back = await TestServer.StartAsync();
        var image = await from.Http.PushAsync("a", Samples.Image(), "1");
        for (var i = 0; i < 2; i++)
        {
            await from.Http.PushAsync("a", Samples.Referrer((JsonObject)image.DeepClone(), $"x/{i}"));
        }

        await CopyAsync(Host(from), target.Host, "1", new CopyOptions { Referrers = true });
        await CopyAsync(target.Host, Host(back), "1", new CopyOptions { Referrers = true }, from: "b", to: "c");

        var listed = await back.Http.GetJsonAsync($"c/referrers/{image["digest"]}");
        Assert.Equal(["x/0", "x/1"], listed["manifests"]!.AsArray().Select(m => (string)m!["artifactType"]!).Order());
    }

    [Fact]
    public async Task Indexes_without_end_are_refused()
    {
        await using var source = await TestRegistry.StartAsync();
        await using var to = await TestServer.StartAsync();
        var bytes = Image(source.AddBlob([1]));
        source.AddBlob(Samples.EmptyJson);
        var type = MediaTypes.OciManifest;
        for (var depth = 0; depth < TreeCopy.MaxDepth + 2; depth++)
        {
            source.AddManifest("x", type, bytes);
            bytes = Samples.Index(Samples.Descriptor(bytes, type)).Encode();
            type = MediaTypes.OciIndex;
        }

        source.AddManifest("1", type, bytes);

        var e = await Assert.ThrowsAsync<RegistryException>(() => CopyAsync(source.Host, Host(to), "1"));

        Assert.Contains("nested deeper", e.Message, StringComparison.Ordinal);
    }

    private static byte[] Image(Descriptor layer) =>
        Samples
            .Image(
                new JsonObject
                {
                    ["mediaType"] = layer.MediaType,
                    ["digest"] = layer.Digest.ToString(),
                    ["size"] = layer.Size,
                }
            )
            .Encode();

    // Two images, one layer: three manifests and, with the empty config, three blobs.
    private static async Task<JsonObject> PushIndexAsync(TestServer server, byte[] layer, string tag)
    {
        var other = Samples.Bytes(100);
        await server.Http.PushBlobAsync("a", layer);
        await server.Http.PushBlobAsync("a", other);
        var index = Samples.Index(
            await server.Http.PushAsync("a", Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar))),
            await server.Http.PushAsync(
                "a",
                Samples.Image(
                    Samples.Descriptor(layer, MediaTypes.OciLayerTar),
                    Samples.Descriptor(other, MediaTypes.OciLayerTar)
                )
            )
        );
        await server.Http.PushAsync("a", index, tag);
        return index;
    }

    private static string Host(TestServer server) => new Uri(server.Url).Authority;

    private Task<CopyTally> CopyAsync(
        TestServer from,
        TestServer to,
        string tag,
        CopyOptions? options = null,
        bool mount = false
    ) => CopyAsync(Host(from), Host(to), tag, options, mount);

    private async Task<CopyTally> CopyAsync(
        string fromHost,
        string toHost,
        string tag,
        CopyOptions? options = null,
        bool mount = false,
        string from = "a",
        string to = "b"
    )
    {
        var source = new RemoteRepository(fromHost, RepositoryName.Parse(from));
        var target = new RemoteRepository(toHost, RepositoryName.Parse(to));
        var copy = new TreeCopy(
            new RegistrySource(_client, source),
            new RegistryTarget(_client, target, mount ? source.Name : null),
            options ?? new CopyOptions()
        );
        var root = await _client.GetManifestAsync(new Reference(fromHost, source.Name, Tag.Parse(tag), null), Cancel);
        await copy.CopyAsync(root, [Tag.Parse(tag)], Cancel);
        return copy.Tally;
    }
}
