using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A server that collects with graces of a second.</summary>
public sealed class CollectingServer(Machine machine) : Server(machine)
{
    protected override IReadOnlyList<string> Options
    {
        get
        {
            var file = Path.Combine(Path.GetTempPath(), $"kiln-collect-{Guid.NewGuid():N}.yaml");
            File.WriteAllText(
                file,
                """
                garbage-collection:
                  enabled: false
                  grace: 1s
                  bytes-grace: 1s
                  keep-untagged: 1s
                  pause: 0s
                """
            );
            return ["--no-builds", "--config", file];
        }
    }
}

/// <summary>The power goes in the middle of a collection.</summary>
public sealed class CollectionCrashTests(CollectingServer server) : IClassFixture<CollectingServer>
{
    private const string Repository = "crash/collected";
    private const string Manifest = "application/vnd.oci.image.manifest.v1+json";
    private readonly byte[][] _layers = [.. Enumerable.Range(0, 30).Select(i => Encoding.UTF8.GetBytes($"layer {i}"))];
    private readonly ConcurrentDictionary<string, byte[]> _acknowledged = new(StringComparer.Ordinal);
    private int _deleted;

    [Fact]
    public async Task Whatever_the_registry_says_that_it_has_is_whole_after_each_kill()
    {
        for (var round = 0; round < 6; round++)
        {
            var work = Task.WhenAll(PushAsync(round), PushAsync(round + 100), CollectAsync());
            await Task.Delay(Random.Shared.Next(800, 2500));
            await server.KillAsync();
            await work;
            await server.StartAsync();

            foreach (var layer in _layers)
            {
                var path = $"/v2/{Repository}/blobs/{Digest(layer)}";
                using var head = await server.Http.SendAsync(new HttpRequestMessage(HttpMethod.Head, path));
                // Whole, or not there: nothing else is an answer.
                if (head.StatusCode != HttpStatusCode.NotFound)
                {
                    Assert.Equal(HttpStatusCode.OK, head.StatusCode);
                    Assert.Equal(layer, await server.Http.GetByteArrayAsync(path));
                }
            }

            foreach (var (tag, content) in _acknowledged)
            {
                Assert.Equal(content, await server.Http.GetByteArrayAsync($"/v2/{Repository}/manifests/{tag}"));
            }
        }

        Assert.NotEmpty(_acknowledged);
        Assert.True(_deleted > 0, "nothing was ever deleted: this shows nothing");
    }

    // Ends with the server.
    private async Task PushAsync(int number)
    {
        try
        {
            for (var i = 0; ; i++)
            {
                var layers = _layers.OrderBy(_ => Random.Shared.Next()).Take(3).ToList();
                foreach (var layer in layers)
                {
                    using var blob = new ByteArrayContent(layer);
                    using var pushed = await server.Http.PostAsync(
                        $"/v2/{Repository}/blobs/uploads/?digest={Digest(layer)}",
                        blob
                    );
                }

                var image = Image(layers, $"{number}-{i}");
                using var manifest = new ByteArrayContent(image);
                manifest.Headers.ContentType = new(Manifest);
                // Two out of three are moved away at once, so that there is something to collect.
                var tag = i % 3 == 0 ? $"kept-{number}-{i}" : "moving";
                using var put = await server.Http.PutAsync($"/v2/{Repository}/manifests/{tag}", manifest);
                if (put.StatusCode == HttpStatusCode.Created && tag != "moving")
                {
                    _acknowledged[tag] = image;
                }

                if (i % 3 == 0 && i > 9)
                {
                    // Not kept long either, or everything would be in use.
                    var old = $"kept-{number}-{i - 9}";
                    _acknowledged.TryRemove(old, out _);
                    using var gone = await server.Http.DeleteAsync($"/v2/{Repository}/manifests/{old}");
                }
            }
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException) { }
    }

    private async Task CollectAsync()
    {
        try
        {
            while (true)
            {
                using var answer = await server.Http.PostAsync("/admin/v1/gc", null);
                Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
                var lines = await answer.Content.ReadAsStringAsync();
                _deleted += lines
                    .Split('\n')
                    .Count(line => line.Contains("\"action\":\"deleted\"", StringComparison.Ordinal));
            }
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException) { }
    }

    private static byte[] Image(List<byte[]> layers, string name) =>
        Encoding.UTF8.GetBytes(
            new JsonObject
            {
                ["schemaVersion"] = 2,
                ["mediaType"] = Manifest,
                ["config"] = Descriptor(layers[0], "application/vnd.oci.empty.v1+json"),
                ["layers"] = new JsonArray([
                    .. layers.Select(l => (JsonNode)Descriptor(l, "application/vnd.oci.image.layer.v1.tar")),
                ]),
                ["annotations"] = new JsonObject { ["name"] = name },
            }.ToJsonString()
        );

    private static JsonObject Descriptor(byte[] content, string type) =>
        new()
        {
            ["mediaType"] = type,
            ["digest"] = Digest(content),
            ["size"] = content.Length,
        };

    private static string Digest(byte[] content) => $"sha256:{Convert.ToHexStringLower(SHA256.HashData(content))}";
}
