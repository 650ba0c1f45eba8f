using System.Net;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Server;

namespace Kiln.Tests.Registry;

/// <summary>Tags that stay what they are.</summary>
public sealed class ImmutableTagTests : IAsyncLifetime
{
    private TestServer? _server;

    private HttpClient Http => _server!.Http;

    public async ValueTask InitializeAsync() =>
        _server = await TestServer.StartAsync(options =>
            options with
            {
                Immutability = new ImmutabilityOptions
                {
                    Rules = [new ImmutabilityRule { Repositories = ["release/**"], Tags = ["v*"] }],
                },
            }
        );

    public async ValueTask DisposeAsync() => await _server!.DisposeAsync();

    [Fact]
    public async Task An_immutable_tag_is_set_once_and_may_be_set_to_the_same_again()
    {
        var image = Samples.Image();
        await Http.PushAsync("release/app", image, "v1");
        await Http.PushAsync("release/app", image, "v1");

        using var moved = await Http.PutManifestAsync("release/app", "v1", Samples.Image().Encode());

        await moved.ShouldFailAsync(409, "DENIED");
        Assert.Equal(image.Encode(), await Http.GetByteArrayAsync("release/app/manifests/v1"));
    }

    [Fact]
    public async Task A_push_that_would_move_one_of_its_tags_moves_none_and_stores_nothing()
    {
        await Http.PushAsync("release/app", Samples.Image(), "v1");
        var other = Samples.Image().Encode();
        var digest = Digest.Of(other);

        using var pushed = await Http.PutManifestAsync("release/app", $"{digest}?tag=latest&tag=v1", other);

        await pushed.ShouldFailAsync(409, "DENIED");
        Assert.Equal((string[])["v1"], await Http.TagsAsync("release/app"));
        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("GET", $"release/app/manifests/{digest}"));
    }

    [Fact]
    public async Task An_immutable_tag_cannot_be_deleted_nor_what_it_points_at()
    {
        var image = await Http.PushAsync("release/app", Samples.Image(), "v1");
        using var tag = await Http.SendAsync("DELETE", "release/app/manifests/v1");
        await tag.ShouldFailAsync(409, "DENIED");
        using var manifest = await Http.SendAsync("DELETE", $"release/app/manifests/{image["digest"]}");
        await manifest.ShouldFailAsync(409, "DENIED");
        Assert.Equal(HttpStatusCode.OK, await Http.StatusAsync("GET", "release/app/manifests/v1"));
    }

    [Fact]
    public async Task Other_tags_and_other_repositories_move_as_ever()
    {
        foreach (var (repository, tag) in new[] { ("release/app", "latest"), ("work/app", "v1") })
        {
            await Http.PushAsync(repository, Samples.Image(), tag);
            await Http.PushAsync(repository, Samples.Image(), tag);
            Assert.Equal(HttpStatusCode.Accepted, await Http.StatusAsync("DELETE", $"{repository}/manifests/{tag}"));
        }
    }

    [Fact]
    public async Task Of_many_pushes_of_one_tag_at_once_one_sets_it()
    {
        await Http.PushBlobAsync("release/app", Samples.EmptyJson);
        var pushes = await Task.WhenAll(
            Enumerable.Range(0, 16).Select(_ => Http.PutManifestAsync("release/app", "v1", Samples.Image().Encode()))
        );

        Assert.Single(pushes, p => p.StatusCode == HttpStatusCode.Created);
        Assert.Equal(15, pushes.Count(p => p.StatusCode == HttpStatusCode.Conflict));
        Array.ForEach(pushes, p => p.Dispose());
    }
}
