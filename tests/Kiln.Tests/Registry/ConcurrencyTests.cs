using System.Net;
using System.Text.Json.Nodes;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>Many clients at a time: what was acknowledged is there.</summary>
public sealed class ConcurrencyTests(ServerFixture fixture)
{
    private const int Count = 100;

    private HttpClient Http => fixture.Http;

    [Fact]
    public async Task As_many_tags_as_were_pushed_are_listed()
    {
        var repository = Samples.Repository();
        var tags = Enumerable.Range(1000, Count).Select(i => $"t{i}").ToArray();

        await Task.WhenAll(tags.Select(tag => Http.PushAsync(repository, Samples.Image(), tag)));

        Assert.Equal(tags, await Http.TagsAsync(repository));
    }

    [Fact]
    public async Task As_many_referrers_as_were_pushed_are_listed()
    {
        var repository = Samples.Repository();
        var subject = await Http.PushAsync(repository, Samples.Image(), "1");
        await Http.PushBlobAsync(repository, Samples.EmptyJson);

        await Task.WhenAll(
            Enumerable
                .Range(0, Count)
                .Select(_ =>
                    Http.PushAsync(repository, Samples.Referrer((JsonObject)subject.DeepClone(), "application/x"))
                )
        );

        var index = await Http.GetJsonAsync($"{repository}/referrers/{subject["digest"]}");
        Assert.Equal(Count, index["manifests"]!.AsArray().Count);
    }

    [Fact]
    public async Task The_same_blob_from_many_at_once_is_whole()
    {
        var content = Samples.Bytes(1 << 20);
        var repositories = Enumerable.Range(0, 16).Select(_ => Samples.Repository()).ToArray();

        await Task.WhenAll(repositories.Select(repository => Http.PushBlobAsync(repository, content)));

        foreach (var repository in repositories)
        {
            Assert.Equal(content, await Http.GetByteArrayAsync($"{repository}/blobs/{Digest.Of(content)}"));
        }
    }

    [Fact]
    public async Task A_tag_that_moves_points_at_a_whole_manifest_at_every_moment()
    {
        var repository = Samples.Repository();
        await Http.PushAsync(repository, Samples.Image(), "moving");
        using var stop = new CancellationTokenSource();
        var reader = Task.Run(async () =>
        {
            var reads = 0;
            while (!stop.IsCancellationRequested)
            {
                using var response = await Http.GetAsync($"{repository}/manifests/moving");
                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
                var content = await response.Content.ReadAsByteArrayAsync();
                Assert.Equal(response.Header("Docker-Content-Digest"), Digest.Of(content).ToString());
                reads++;
            }

            return reads;
        });

        for (var i = 0; i < 20; i++)
        {
            await Http.PushAsync(repository, Samples.Image(), "moving");
        }

        await stop.CancelAsync();
        Assert.True(await reader > 0);
    }
}
