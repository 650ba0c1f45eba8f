using System.Net;
using System.Text.Json.Nodes;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>Pushes and deletes that depend on what is there (RFC 9110, 13.1).</summary>
public sealed class ConditionTests(ServerFixture fixture)
{
    private HttpClient Http => fixture.Http;

    [Fact]
    public async Task A_tag_that_must_not_exist_yet_is_set_once()
    {
        var repository = Samples.Repository();

        using var first = await PutAsync(repository, "1", ("If-None-Match", "*"));
        using var second = await PutAsync(repository, "1", ("If-None-Match", "*"));

        Assert.Equal(HttpStatusCode.Created, first.StatusCode);
        await second.ShouldFailAsync(412, "PRECONDITION_FAILED");
        using var tag = await Http.GetAsync($"{repository}/manifests/1");
        Assert.Equal(first.Header("Docker-Content-Digest"), tag.Header("Docker-Content-Digest"));
    }

    [Fact]
    public async Task A_tag_moves_only_from_the_manifest_that_the_client_saw()
    {
        var repository = Samples.Repository();
        using var none = await PutAsync(repository, "1", ("If-Match", "*"));
        await none.ShouldFailAsync(412, "PRECONDITION_FAILED");
        var first = await Http.PushAsync(repository, Samples.Image(), "1");
        var seen = $"\"{first["digest"]}\"";

        using var weak = await PutAsync(repository, "1", ("If-Match", $"W/{seen}"));
        await weak.ShouldFailAsync(412, "PRECONDITION_FAILED");
        using var moved = await PutAsync(repository, "1", ("If-Match", $"\"other\", {seen}"));
        Assert.Equal(HttpStatusCode.Created, moved.StatusCode);
        using var late = await PutAsync(repository, "1", ("If-Match", seen));
        await late.ShouldFailAsync(412, "PRECONDITION_FAILED");
        using var elsewhere = await PutAsync(repository, "2", ("If-Match", seen));
        await elsewhere.ShouldFailAsync(412, "PRECONDITION_FAILED");
        Assert.Equal((string[])["1"], await Http.TagsAsync(repository));
    }

    [Fact]
    public async Task Of_many_who_move_a_tag_from_the_same_state_one_succeeds()
    {
        var repository = Samples.Repository();
        var first = await Http.PushAsync(repository, Samples.Image(), "1");

        var answers = await Task.WhenAll(
            Enumerable.Range(0, 16).Select(_ => PutAsync(repository, "1", ("If-Match", $"\"{first["digest"]}\"")))
        );

        Assert.Single(answers, a => a.StatusCode == HttpStatusCode.Created);
        Assert.Equal(15, answers.Count(a => a.StatusCode == HttpStatusCode.PreconditionFailed));
        foreach (var answer in answers)
        {
            answer.Dispose();
        }
    }

    [Theory]
    [InlineData("tag")]
    [InlineData("digest")]
    public async Task A_delete_can_depend_on_what_is_there(string by)
    {
        var repository = Samples.Repository();
        var manifest = await Http.PushAsync(repository, Samples.Image(), "1");
        var path = $"{repository}/manifests/{(by == "tag" ? "1" : manifest["digest"])}";

        using var other = await Http.SendAsync("DELETE", path, headers: ("If-Match", "\"other\""));
        await other.ShouldFailAsync(412, "PRECONDITION_FAILED");
        using var same = await Http.SendAsync("DELETE", path, headers: ("If-Match", $"\"{manifest["digest"]}\""));

        Assert.Equal(HttpStatusCode.Accepted, same.StatusCode);
    }

    [Fact]
    public async Task A_push_by_digest_looks_at_the_digest()
    {
        var repository = Samples.Repository();
        await Http.PushBlobAsync(repository, Samples.EmptyJson);
        var content = Samples.Image().Encode();
        var path = $"{repository}/manifests/{Digest.Of(content)}";

        using var first = await Http.SendAsync("PUT", path, content, MediaTypes.OciManifest, ("If-None-Match", "*"));
        using var second = await Http.SendAsync("PUT", path, content, MediaTypes.OciManifest, ("If-None-Match", "*"));

        Assert.Equal(HttpStatusCode.Created, first.StatusCode);
        await second.ShouldFailAsync(412, "PRECONDITION_FAILED");
    }

    [Theory]
    [InlineData("HEAD")]
    [InlineData("GET")]
    public async Task Not_modified_still_tells_tag_and_digest_and_has_no_body(string method)
    {
        var repository = Samples.Repository();
        var manifest = await Http.PushAsync(repository, Samples.Image(), "1");
        var tag = $"\"{manifest["digest"]}\"";

        using var response = await Http.SendAsync(
            method,
            $"{repository}/manifests/1",
            headers: ("If-None-Match", $"W/\"a,b\", W/{tag}")
        );

        Assert.Equal(HttpStatusCode.NotModified, response.StatusCode);
        Assert.Equal(tag, response.Header("ETag"));
        Assert.Equal((string?)manifest["digest"], response.Header("Docker-Content-Digest"));
        Assert.Empty(await response.Content.ReadAsByteArrayAsync());
    }

    private async Task<HttpResponseMessage> PutAsync(string repository, string tag, (string, string) condition)
    {
        await Http.PushBlobAsync(repository, Samples.EmptyJson);
        var path = $"{repository}/manifests/{tag}";
        return await Http.SendAsync("PUT", path, Samples.Image().Encode(), MediaTypes.OciManifest, condition);
    }
}
