using System.Net;
using System.Text.Json.Nodes;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>Lists of tags, of repositories and of referrers, with their pages.</summary>
public sealed class ListTests(ServerFixture fixture)
{
    private HttpClient Http => fixture.Http;

    [Fact]
    public async Task Tags_come_in_byte_order_all_of_them_unless_n_says_otherwise()
    {
        var repository = Samples.Repository();
        string[] tags = ["0", "B", "_x", "a", "a-b", "a.b", "a0", "b"];
        await PushTagsAsync(repository, tags.OrderDescending(StringComparer.Ordinal));

        Assert.Equal(tags, await Http.TagsAsync(repository));
        Assert.Equal(tags.Skip(3), await Http.TagsAsync(repository, $"?last={tags[2]}"));
        Assert.Equal(tags, await Http.TagsAsync(repository, "?n=99999999999"));
        Assert.Equal(tags, await WalkAsync($"{repository}/tags/list?n=3", "tags"));
        Assert.Equal(tags, await WalkAsync($"{repository}/tags/list?n=8", "tags"));
    }

    [Fact]
    public async Task Last_is_a_position_that_need_not_exist_any_more()
    {
        var repository = Samples.Repository();
        await PushTagsAsync(repository, ["a", "c"]);

        Assert.Equal((string[])["c"], await Http.TagsAsync(repository, "?n=5&last=b"));
        Assert.Equal((string[])[], await Http.TagsAsync(repository, "?last=zzz"));
    }

    [Fact]
    public async Task N_of_zero_gives_an_empty_list_without_a_link()
    {
        var repository = Samples.Repository();
        await PushTagsAsync(repository, ["a"]);

        using var response = await Http.GetAsync($"{repository}/tags/list?n=0");

        Assert.Null(response.Header("Link"));
        Assert.Equal($$"""{"name":"{{repository}}","tags":[]}""", await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task The_last_page_has_no_link()
    {
        var repository = Samples.Repository();
        await PushTagsAsync(repository, ["a", "b"]);

        using var first = await Http.GetAsync($"{repository}/tags/list?n=1");
        using var second = await Http.GetAsync($"{repository}/tags/list?n=1&last=a");

        Assert.Equal($"</v2/{repository}/tags/list?n=1&last=a>; rel=\"next\"", first.Header("Link"));
        Assert.Null(second.Header("Link"));
    }

    [Fact]
    public async Task The_catalog_lists_repositories_with_content_in_pages()
    {
        await using var server = await TestServer.StartAsync();
        foreach (var name in new[] { "b", "a/x", "a", "c-1" })
        {
            await server.Http.PushAsync(name, Samples.Image(), "1");
        }

        await server.Http.StartUploadAsync("empty");
        var list = await server.Http.GetJsonAsync("_catalog");
        using var page = await server.Http.GetAsync("_catalog?n=2&last=a");

        Assert.Equal("""{"repositories":["a","a/x","b","c-1"]}""", list.ToJsonString());
        Assert.Equal("</v2/_catalog?n=2&last=b>; rel=\"next\"", page.Header("Link"));
    }

    [Fact]
    public async Task Referrers_of_what_nobody_knows_are_an_empty_index()
    {
        foreach (var algorithm in new[] { Digest.Sha256, Digest.Sha512 })
        {
            var digest = Digest.Of(Samples.Bytes(5), algorithm);
            using var response = await Http.GetAsync($"{Samples.Repository()}/referrers/{digest}");

            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal(MediaTypes.OciIndex, response.Header("Content-Type"));
            var index = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
            Assert.Equal(2, (int)index["schemaVersion"]!);
            Assert.Equal(MediaTypes.OciIndex, (string)index["mediaType"]!);
            Assert.Empty(index["manifests"]!.AsArray());
        }
    }

    [Fact]
    public async Task Referrers_tell_type_and_annotations_and_are_filtered_by_type()
    {
        var repository = Samples.Repository();
        var subject = await Http.PushAsync(repository, Samples.Image(), "1");
        var signature = Samples.Referrer(Clone(subject), "application/x.signature");
        var signed = await Http.PushAsync(repository, signature);
        var plain = Samples.Image();
        plain["subject"] = Clone(subject);
        var untyped = await Http.PushAsync(repository, plain);
        var index = Samples.Index();
        index["subject"] = Clone(subject);
        var indexed = await Http.PushAsync(repository, index);
        var path = $"{repository}/referrers/{subject["digest"]}";

        var all = (await Http.GetJsonAsync(path))["manifests"]!.AsArray();
        using var filtered = await Http.GetAsync($"{path}?artifactType=application/x.signature");

        var types = all.ToDictionary(d => (string)d!["digest"]!, d => (string?)d!["artifactType"]);
        Assert.Equal(3, types.Count);
        Assert.Equal("application/x.signature", types[(string)signed["digest"]!]);
        Assert.Equal(MediaTypes.OciEmpty, types[(string)untyped["digest"]!]);
        Assert.Null(types[(string)indexed["digest"]!]);
        Assert.Equal("artifactType", filtered.Header("OCI-Filters-Applied"));
        var only = JsonNode.Parse(await filtered.Content.ReadAsStringAsync())!["manifests"]!.AsArray();
        var expected = (JsonObject)Clone(signed);
        expected["artifactType"] = "application/x.signature";
        expected["annotations"] = signature["annotations"]!.DeepClone();
        Assert.True(JsonNode.DeepEquals(expected, Assert.Single(only)), only.ToJsonString());
    }

    [Fact]
    public async Task Referrers_that_weigh_too_much_for_one_answer_come_in_pages()
    {
        var repository = Samples.Repository();
        var subject = await Http.PushAsync(repository, Samples.Image());
        var pushed = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            var referrer = Samples.Referrer(Clone(subject), "application/x.heavy");
            referrer["annotations"]!["heavy"] = new string('x', 3 << 20);
            pushed.Add((string)(await Http.PushAsync(repository, referrer))["digest"]!);
        }

        var path = $"{repository}/referrers/{subject["digest"]}?artifactType=application/x.heavy";
        var listed = await WalkAsync(path, "manifests", descriptor => (string)descriptor!["digest"]!);

        Assert.Equal(pushed.Order(StringComparer.Ordinal), listed);
    }

    [Fact]
    public async Task A_deleted_referrer_is_no_longer_listed()
    {
        var repository = Samples.Repository();
        var subject = await Http.PushAsync(repository, Samples.Image());
        var referrer = await Http.PushAsync(repository, Samples.Referrer(Clone(subject), "application/x"));

        await Http.StatusAsync("DELETE", $"{repository}/manifests/{referrer["digest"]}");

        var index = await Http.GetJsonAsync($"{repository}/referrers/{subject["digest"]}");
        Assert.Empty(index["manifests"]!.AsArray());
    }

    [Fact]
    public async Task A_long_list_of_referrers_follows_what_is_pushed_and_deleted()
    {
        var repository = Samples.Repository();
        var subject = await Http.PushAsync(repository, Samples.Image());
        var path = $"{repository}/referrers/{subject["digest"]}";
        var pushed = new SortedSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < 20; i++)
        {
            pushed.Add(await PushReferrerAsync());
        }

        Assert.Equal(pushed, await ListedAsync());
        Assert.Equal(pushed, await ListedAsync());
        pushed.Add(await PushReferrerAsync());
        Assert.Equal(pushed, await ListedAsync());
        foreach (var gone in pushed.ToArray())
        {
            await Http.StatusAsync("DELETE", $"{repository}/manifests/{gone}");
            pushed.Remove(gone);
            Assert.Equal(pushed, await ListedAsync());
        }

        pushed.Add(await PushReferrerAsync());
        Assert.Equal(pushed, await ListedAsync());

        async Task<string> PushReferrerAsync() =>
            (string)
                (await Http.PushAsync(repository, Samples.Referrer(Clone(subject), "application/x.many")))["digest"]!;

        async Task<IEnumerable<string>> ListedAsync() =>
            (await Http.GetJsonAsync(path))["manifests"]!.AsArray().Select(d => (string)d!["digest"]!);
    }

    private static JsonObject Clone(JsonObject node) => (JsonObject)node.DeepClone();

    private async Task PushTagsAsync(string repository, IEnumerable<string> tags)
    {
        var manifest = Samples.Image();
        foreach (var tag in tags)
        {
            await Http.PushAsync(repository, manifest, tag);
        }
    }

    // Follows Link until there is none.
    private async Task<string[]> WalkAsync(string path, string member, Func<JsonNode?, string>? map = null)
    {
        var items = new List<string>();
        for (var next = path; next is not null; )
        {
            using var response = await Http.GetAsync(next);
            var body = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
            items.AddRange(body[member]!.AsArray().Select(map ?? (node => (string)node!)));
            next = response.Header("Link")?.Split('<', '>')[1];
        }

        return [.. items];
    }
}
