using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server;

namespace Kiln.Tests.Registry;

/// <summary>What repositories may hold together.</summary>
public sealed class QuotaTests
{
    [Fact]
    public async Task A_push_beyond_the_limit_is_refused_with_figures_and_counts_nothing()
    {
        await using var server = await StartAsync(maxBytes: 5000);
        await PushAsync(server.Http, "team/a", 3000);
        var before = await UsedAsync(server.Http);

        // Each layer would fit, both do not.
        var layers = new[] { Samples.Bytes(1000), Samples.Bytes(1000) };
        foreach (var layer in layers)
        {
            await server.Http.PushBlobAsync("team/b", layer);
        }

        await server.Http.PushBlobAsync("team/b", Samples.EmptyJson);
        var image = Samples.Image(layers.Select(l => Samples.Descriptor(l, MediaTypes.OciLayerTar)));
        using var refused = await server.Http.PutManifestAsync("team/b", "1", image.Encode());

        Assert.Contains(
            $"{before.Bytes} of 5000 bytes are used",
            await refused.Content.ReadAsStringAsync(),
            StringComparison.Ordinal
        );
        await refused.ShouldFailAsync(403, "DENIED");
        Assert.Equal(before.Bytes, (await UsedAsync(server.Http)).Bytes);
        await PushAsync(server.Http, "other/b", 9000);
    }

    [Fact]
    public async Task A_blob_that_cannot_fit_is_refused_in_each_way_of_pushing_it()
    {
        await using var server = await StartAsync(maxBytes: 5000);
        var http = server.Http;
        await PushAsync(http, "team/a", 3000);
        var blob = Samples.Bytes(3000);
        var digest = await http.PushBlobAsync("other/x", blob);

        using var mounted = await http.SendAsync("POST", $"team/a/blobs/uploads/?mount={digest}&from=other/x");
        await mounted.ShouldFailAsync(403, "DENIED");
        using var single = await http.SendAsync("POST", $"team/a/blobs/uploads/?digest={digest}", blob);
        await single.ShouldFailAsync(403, "DENIED");
        using var put = await http.PutUploadAsync(await http.StartUploadAsync("team/a"), digest, blob);
        await put.ShouldFailAsync(403, "DENIED");
        Assert.Equal(HttpStatusCode.NotFound, await http.StatusAsync("HEAD", $"team/a/blobs/{digest}"));
    }

    [Fact]
    public async Task A_layer_of_several_images_counts_once_and_a_deleted_image_no_more()
    {
        await using var server = await StartAsync(maxBytes: 100_000);
        var http = server.Http;
        var layer = Samples.Bytes(10_000);
        var first = await PushAsync(http, "team/a", layer);
        var alone = (await UsedAsync(http)).Bytes;
        Assert.InRange(alone, 10_000, 11_000);

        await PushAsync(http, "team/b", layer);
        Assert.InRange((await UsedAsync(http)).Bytes, 10_001, 11_500);
        await http.StatusAsync("DELETE", $"team/a/manifests/{first["digest"]}");
        Assert.InRange((await UsedAsync(http)).Bytes, 10_000, 11_000);
        var second = JsonNode.Parse(await http.GetStringAsync("team/b/manifests/1"))!;
        await http.StatusAsync("DELETE", $"team/b/manifests/{Digest.Of(second.Encode())}");

        var used = await UsedAsync(http);
        Assert.Equal((0, 0, 0), (used.Bytes, used.Tags, used.RepositoryCount));
    }

    [Fact]
    public async Task Tags_and_repositories_have_limits_too()
    {
        await using var server = await StartAsync(maxTags: 2, maxRepositories: 2);
        var http = server.Http;
        await http.PushAsync("team/a", Samples.Image(), "1");
        await http.PushAsync("team/b", Samples.Image(), "1");
        await http.PushAsync("team/b", Samples.Image(), "1");

        using var third = await http.PutManifestAsync("team/b", "2", Samples.Image().Encode());
        await third.ShouldFailAsync(403, "DENIED");
        await http.PushBlobAsync("team/c", Samples.EmptyJson);
        var image = Samples.Image().Encode();
        using var repository = await http.PutManifestAsync("team/c", $"{Digest.Of(image)}", image);
        await repository.ShouldFailAsync(403, "DENIED");
        Assert.Equal(HttpStatusCode.Accepted, await http.StatusAsync("DELETE", "team/b/manifests/1"));
        await http.PushAsync("team/b", Samples.Image(), "2");
    }

    [Fact]
    public async Task Of_many_pushes_at_once_as_many_come_in_as_fit()
    {
        await using var server = await StartAsync(maxBytes: 50_000);
        var http = server.Http;
        await http.PushBlobAsync("team/a", Samples.EmptyJson);

        var outcomes = await Task.WhenAll(
            Enumerable
                .Range(0, 24)
                .Select(async i =>
                {
                    var layer = Samples.Bytes(6000);
                    try
                    {
                        await http.PushBlobAsync($"team/{i % 3}", Samples.EmptyJson);
                        await http.PushBlobAsync($"team/{i % 3}", layer);
                    }
                    catch (Xunit.Sdk.XunitException)
                    {
                        // Full already when the blob came.
                        return HttpStatusCode.Forbidden;
                    }

                    var image = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar));
                    using var put = await http.PutManifestAsync($"team/{i % 3}", $"t{i}", image.Encode());
                    return put.StatusCode;
                })
        );

        Assert.All(outcomes, o => Assert.True(o is HttpStatusCode.Created or HttpStatusCode.Forbidden, o.ToString()));
        // 6,000 bytes and some hundred for its manifest.
        Assert.Equal(7, outcomes.Count(o => o == HttpStatusCode.Created));
        Assert.InRange((await UsedAsync(http)).Bytes, 42_000, 50_000);
    }

    [Fact]
    public async Task A_quota_that_is_new_counts_what_is_there_and_one_that_is_gone_is_forgotten()
    {
        long? limit = null;
        await using var server = await TestServer.StartAsync(options =>
            options with
            {
                Quotas = new QuotaOptions
                {
                    Rules = limit is null ? [] : [new QuotaRule { Repositories = ["team/**"], MaxBytes = limit }],
                },
            }
        );
        await PushAsync(server.Http, "team/a", 3000);
        await PushAsync(server.Http, "team/b", 3000);

        await server.RestartAsync(() => limit = 10_000);
        var counted = await UsedAsync(server.Http);
        Assert.InRange(counted.Bytes, 6000, 7000);
        Assert.Equal((2, 2), (counted.Tags, counted.RepositoryCount));
        await server.RestartAsync(() => limit = 20_000);
        Assert.Equal(counted.Bytes, (await UsedAsync(server.Http)).Bytes);
        await server.RestartAsync(() => limit = null);
        Assert.Empty((await QuotasAsync(server.Http)).Quotas);
    }

    private static Task<TestServer> StartAsync(
        long? maxBytes = null,
        long? maxTags = null,
        long? maxRepositories = null
    ) =>
        TestServer.StartAsync(options =>
            options with
            {
                Quotas = new QuotaOptions
                {
                    Rules =
                    [
                        new QuotaRule
                        {
                            Repositories = ["team/**"],
                            MaxBytes = maxBytes,
                            MaxTags = maxTags,
                            MaxRepositories = maxRepositories,
                        },
                    ],
                },
            }
        );

    private static Task<JsonObject> PushAsync(HttpClient http, string repository, int bytes) =>
        PushAsync(http, repository, Samples.Bytes(bytes));

    private static async Task<JsonObject> PushAsync(HttpClient http, string repository, byte[] layer)
    {
        await http.PushBlobAsync(repository, layer);
        return await http.PushAsync(repository, Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar)), "1");
    }

    private static async Task<QuotaView> UsedAsync(HttpClient http) => Assert.Single((await QuotasAsync(http)).Quotas);

    private static async Task<QuotaList> QuotasAsync(HttpClient http) =>
        JsonSerializer.Deserialize(await http.GetStringAsync("/admin/v1/quotas"), AdminJson.Default.QuotaList)!;
}
