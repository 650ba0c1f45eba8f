using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Server;

namespace Kiln.Tests.Registry;

/// <summary>Pushing, pulling and deleting manifests.</summary>
public sealed class ManifestTests(ServerFixture fixture)
{
    private static readonly string Unknown = $"sha256:{new string('0', 64)}";

    private HttpClient Http => fixture.Http;

    public static TheoryData<string> Kinds =>
        [
            "image",
            "no layers",
            "large",
            "index",
            "empty index",
            "nested index",
            "artifact",
            "artifact index",
            "data field",
            "custom fields",
            "non-distributable",
            "foreign with urls",
            "missing subject",
            "docker",
        ];

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Every_kind_of_manifest_comes_back_byte_for_byte_by_tag_and_digest(string kind)
    {
        var repository = Samples.Repository();
        var manifest = await MakeAsync(kind, repository);
        // Spaces that no serialiser would keep.
        var content = Encoding.UTF8.GetBytes($" {manifest.ToJsonString()}\n ");
        var type = (string)manifest["mediaType"]!;
        var digest = Digest.Of(content);

        using var byDigest = await Http.PutManifestAsync(repository, digest.ToString(), content, type);
        using var byTag = await Http.PutManifestAsync(repository, "1.0", content, type);

        Assert.Equal(HttpStatusCode.Created, byDigest.StatusCode);
        foreach (var pushed in new[] { byDigest, byTag })
        {
            Assert.Equal(digest.ToString(), pushed.Header("Docker-Content-Digest"));
            Assert.Equal((string?)manifest["subject"]?["digest"], pushed.Header("OCI-Subject"));
            Assert.Equal(content, await Http.GetByteArrayAsync(pushed.Headers.Location));
        }

        foreach (var reference in new[] { "1.0", digest.ToString() })
        {
            foreach (var method in new[] { "HEAD", "GET" })
            {
                using var response = await Http.SendAsync(method, $"{repository}/manifests/{reference}");
                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
                Assert.Equal(type, response.Header("Content-Type"));
                Assert.Equal($"{content.Length}", response.Header("Content-Length"));
                Assert.Equal(digest.ToString(), response.Header("Docker-Content-Digest"));
                Assert.Equal($"\"{digest}\"", response.Header("ETag"));
                Assert.Equal(method == "HEAD" ? [] : content, await response.Content.ReadAsByteArrayAsync());
            }
        }
    }

    [Fact]
    public async Task A_manifest_pushed_by_sha512_is_found_by_it_also_through_its_tags()
    {
        var repository = Samples.Repository();
        var config = await Http.PushBlobAsync(repository, Samples.EmptyJson, Digest.Sha512);
        var manifest = Samples.Image();
        manifest["config"]!["digest"] = config.ToString();
        var content = manifest.Encode();
        var digest = Digest.Of(content, Digest.Sha512);

        using var pushed = await Http.PutManifestAsync(repository, $"{digest}?tag=a&tag=b", content);

        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        Assert.Equal("a, b", pushed.Header("OCI-Tag"));
        foreach (var reference in new[] { "a", "b", digest.ToString() })
        {
            using var head = await Http.SendAsync("HEAD", $"{repository}/manifests/{reference}");
            Assert.Equal(digest.ToString(), head.Header("Docker-Content-Digest"));
        }
    }

    [Fact]
    public async Task A_push_sets_as_many_tags_as_fit_into_its_address()
    {
        var repository = Samples.Repository();
        await Http.PushBlobAsync(repository, Samples.EmptyJson);
        var content = Samples.Image().Encode();
        var tags = Enumerable.Range(100, 100).Select(i => $"tag-{i}").ToArray();

        using var pushed = await Http.PutManifestAsync(
            repository,
            $"{Digest.Of(content)}?{string.Join('&', tags.Select(t => "tag=" + t))}",
            content
        );

        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        Assert.Equal(tags, await Http.TagsAsync(repository));
    }

    [Fact]
    public async Task A_manifest_under_another_digest_is_refused()
    {
        var repository = Samples.Repository();
        await Http.PushBlobAsync(repository, Samples.EmptyJson);
        var content = Samples.Image().Encode();

        using var response = await Http.PutManifestAsync(
            repository,
            Digest.Of(content).ToString(),
            [.. content, .. "  "u8]
        );

        await response.ShouldFailAsync(400, "DIGEST_INVALID");
    }

    [Theory]
    [InlineData("layers")]
    [InlineData("config")]
    [InlineData("manifests")]
    public async Task What_a_manifest_refers_to_must_be_in_the_repository(string member)
    {
        var repository = Samples.Repository();
        await Http.PushBlobAsync(Samples.Repository(), Samples.EmptyJson);
        var missing = Samples.Descriptor([1, 2, 3], member == "manifests" ? MediaTypes.OciManifest : "application/x");
        JsonObject manifest;
        if (member == "manifests")
        {
            manifest = Samples.Index(missing);
        }
        else if (member == "config")
        {
            manifest = Samples.Image();
        }
        else
        {
            await Http.PushBlobAsync(repository, Samples.EmptyJson);
            manifest = Samples.Image(missing);
        }

        using var response = await Http.PutManifestAsync(
            repository,
            "1",
            manifest.Encode(),
            (string)manifest["mediaType"]!
        );

        await response.ShouldFailAsync(404, "MANIFEST_BLOB_UNKNOWN");
    }

    [Theory]
    [InlineData(SparseManifests.None, 404, 404)]
    [InlineData(SparseManifests.Indexes, 201, 404)]
    [InlineData(SparseManifests.All, 201, 201)]
    public async Task What_is_missing_may_be_missing_as_far_as_the_server_was_told(
        SparseManifests sparse,
        int index,
        int image
    )
    {
        await using var server = await TestServer.StartAsync(options => options with { Sparse = sparse });
        await server.Http.PushBlobAsync("sparse", Samples.EmptyJson);
        var missing = Samples.Descriptor([1, 2, 3], MediaTypes.OciManifest);

        using var indexed = await server.Http.PutManifestAsync(
            "sparse",
            "1",
            Samples.Index(missing).Encode(),
            MediaTypes.OciIndex
        );
        using var layered = await server.Http.PutManifestAsync(
            "sparse",
            "2",
            Samples.Image(missing.DeepClone()).Encode()
        );

        Assert.Equal(index, (int)indexed.StatusCode);
        Assert.Equal(image, (int)layered.StatusCode);
    }

    [Fact]
    public async Task A_manifest_over_the_limit_gets_413_announced_or_not()
    {
        await using var server = await TestServer.StartAsync(options => options with { MaxManifestBytes = 5000 });
        var content = new byte[5001];

        using var announced = await server.Http.PutManifestAsync("a", "1", content);
        await announced.ShouldFailAsync(413, "MANIFEST_INVALID");
        using var request = new HttpRequestMessage(HttpMethod.Put, "a/manifests/1")
        {
            Content = new ByteArrayContent(content),
        };
        request.Headers.TransferEncodingChunked = true;
        using var streamed = await server.Http.SendAsync(request);

        await streamed.ShouldFailAsync(413, "MANIFEST_INVALID");
    }

    [Fact]
    public async Task Deleting_a_manifest_takes_its_tags_along_and_deleting_a_tag_leaves_the_manifest()
    {
        var repository = Samples.Repository();
        var manifest = Samples.Image();
        var descriptor = await Http.PushAsync(repository, manifest, "a");
        await Http.PushAsync(repository, manifest, "b");
        await Http.PushAsync(repository, Samples.Image(), "other");

        Assert.Equal(HttpStatusCode.Accepted, await Http.StatusAsync("DELETE", $"{repository}/manifests/a"));
        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("HEAD", $"{repository}/manifests/a"));
        Assert.Equal(
            HttpStatusCode.OK,
            await Http.StatusAsync("HEAD", $"{repository}/manifests/{descriptor["digest"]}")
        );
        var path = $"{repository}/manifests/{descriptor["digest"]}";
        Assert.Equal(HttpStatusCode.Accepted, await Http.StatusAsync("DELETE", path));

        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("GET", path));
        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("DELETE", path));
        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("GET", $"{repository}/manifests/b"));
        Assert.Equal((string[])["other"], await Http.TagsAsync(repository));
    }

    [Fact]
    public async Task A_manifest_that_an_index_lists_is_deleted_only_after_it()
    {
        var repository = Samples.Repository();
        var child = await Http.PushAsync(repository, Samples.Image());
        var index = await Http.PushAsync(repository, Samples.Index(child.DeepClone()), "1");
        var path = $"{repository}/manifests/{child["digest"]}";

        using var refused = await Http.SendAsync("DELETE", path);

        await refused.ShouldFailAsync(405, "UNSUPPORTED");
        await Http.StatusAsync("DELETE", $"{repository}/manifests/{index["digest"]}");
        Assert.Equal(HttpStatusCode.Accepted, await Http.StatusAsync("DELETE", path));
    }

    [Fact]
    public async Task A_manifest_of_one_repository_is_unknown_in_another()
    {
        var descriptor = await Http.PushAsync(Samples.Repository(), Samples.Image());

        using var response = await Http.GetAsync($"{Samples.Repository()}/manifests/{descriptor["digest"]}");

        await response.ShouldFailAsync(404, "MANIFEST_UNKNOWN");
    }

    [Theory]
    [InlineData("application/vnd.oci.image.index.v1+json")]
    [InlineData("*/*")]
    public async Task What_a_client_accepts_does_not_hide_a_manifest(string accept)
    {
        var repository = Samples.Repository();
        await Http.PushAsync(repository, Samples.Image(), "1");

        using var response = await Http.SendAsync("GET", $"{repository}/manifests/1", headers: ("Accept", accept));

        Assert.Equal(MediaTypes.OciManifest, response.Header("Content-Type"));
    }

    [Fact]
    public async Task A_client_that_has_the_manifest_gets_304_until_the_tag_moves()
    {
        var repository = Samples.Repository();
        var first = await Http.PushAsync(repository, Samples.Image(), "1");
        var condition = ("If-None-Match", $"\"{first["digest"]}\"");

        using var same = await Http.SendAsync("GET", $"{repository}/manifests/1", headers: condition);
        await Http.PushAsync(repository, Samples.Image(), "1");
        using var moved = await Http.SendAsync("GET", $"{repository}/manifests/1", headers: condition);

        Assert.Equal(HttpStatusCode.NotModified, same.StatusCode);
        Assert.Equal(HttpStatusCode.OK, moved.StatusCode);
    }

    private async Task<JsonObject> MakeAsync(string kind, string repository)
    {
        var layer = Samples.Bytes(50);
        await Http.PushBlobAsync(repository, layer);
        await Http.PushBlobAsync(repository, Samples.EmptyJson);
        var image = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerGzip));
        switch (kind)
        {
            case "no layers":
                return Samples.Image();
            case "large":
                image["annotations"]!["large"] = new string('x', 4_000_000);
                return image;
            case "index":
                return Samples.Index(await Http.PushAsync(repository, image));
            case "nested index":
                var inner = await Http.PushAsync(repository, Samples.Index(await Http.PushAsync(repository, image)));
                return Samples.Index(inner);
            case "empty index":
                return Samples.Index();
            case "artifact":
                image["artifactType"] = "application/vnd.example";
                return image;
            case "artifact index":
                var index = Samples.Index();
                index["artifactType"] = "application/vnd.example";
                return index;
            case "data field":
                image["config"]!["data"] = "e30=";
                return image;
            case "custom fields":
                image["x-unknown"] = new JsonObject { ["deep"] = new JsonArray(1, 2.50, "ü") };
                image["layers"]![0]!["x-too"] = true;
                return image;
            case "non-distributable":
                var type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
                return Samples.Image(Samples.Descriptor(Samples.Bytes(9), type));
            case "foreign with urls":
                var foreign = Samples.Descriptor(Samples.Bytes(9), MediaTypes.DockerForeignLayer);
                foreign["urls"] = new JsonArray("https://example.invalid/layer");
                return Samples.Image(foreign);
            case "missing subject":
                image["subject"] = new JsonObject
                {
                    ["mediaType"] = MediaTypes.OciManifest,
                    ["digest"] = Unknown,
                    ["size"] = 5,
                };
                return image;
            case "docker":
                image["mediaType"] = MediaTypes.DockerManifest;
                return image;
            default:
                return image;
        }
    }
}
