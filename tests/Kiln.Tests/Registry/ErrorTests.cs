using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>What bad input gets: each its own status and code, always in the OCI envelope.</summary>
public sealed class ErrorTests(ServerFixture fixture)
{
    private const string Zeros = "0000000000000000000000000000000000000000000000000000000000000000";

    public static TheoryData<string, string, int, string> Requests =>
        new()
        {
            { "GET", $"a/b/blobs/sha256:{Zeros}", 404, "BLOB_UNKNOWN" },
            { "DELETE", $"a/b/blobs/sha256:{Zeros}", 404, "BLOB_UNKNOWN" },
            { "GET", "a/b/blobs/sha256:short", 400, "DIGEST_INVALID" },
            { "GET", $"a/b/blobs/md5:{Zeros}", 400, "DIGEST_INVALID" },
            { "GET", $"a/b/blobs/sha256:{Zeros[1..]}A", 400, "DIGEST_INVALID" },
            { "POST", "a/b/blobs/uploads/?digest=sha256:short", 400, "DIGEST_INVALID" },
            { "POST", "a/b/blobs/uploads/?mount=nonsense", 400, "DIGEST_INVALID" },
            { "POST", "a/b/blobs/uploads/?digest-algorithm=md5", 400, "DIGEST_INVALID" },
            { "POST", "A/blobs/uploads/", 400, "NAME_INVALID" },
            { "PATCH", "a/b/blobs/uploads/unknown", 404, "BLOB_UPLOAD_UNKNOWN" },
            { "PUT", $"a/b/blobs/uploads/unknown?digest=sha256:{Zeros}", 404, "BLOB_UPLOAD_UNKNOWN" },
            { "GET", "a/b/blobs/uploads/..%2f..%2fkiln.db", 404, "BLOB_UPLOAD_UNKNOWN" },
            { "GET", "a/b/manifests/unknown", 404, "MANIFEST_UNKNOWN" },
            { "GET", $"a/b/manifests/sha256:{Zeros}", 404, "MANIFEST_UNKNOWN" },
            { "GET", "a/b/manifests/sha256:baddigeststring", 400, "DIGEST_INVALID" },
            { "PUT", "a/b/manifests/sha256:baddigeststring", 400, "DIGEST_INVALID" },
            { "DELETE", "a/b/manifests/unknown", 404, "MANIFEST_UNKNOWN" },
            { "DELETE", $"a/b/manifests/sha256:{Zeros}", 404, "MANIFEST_UNKNOWN" },
            { "PUT", "a/b/manifests/.hidden", 400, "TAG_INVALID" },
            { "PUT", "a/b/manifests/" + new string('x', 129), 400, "TAG_INVALID" },
            { "PUT", $"a/b/manifests/sha256:{Zeros}?tag=-x", 400, "TAG_INVALID" },
            { "GET", "UPPER/manifests/1", 400, "NAME_INVALID" },
            { "GET", "a%2Fb/manifests/1", 400, "NAME_INVALID" },
            { "GET", new string('a', 256) + "/manifests/1", 400, "NAME_INVALID" },
            { "GET", "no/such/repository/tags/list", 404, "NAME_UNKNOWN" },
            { "GET", "a/b/tags/list?n=-1", 400, "PAGINATION_NUMBER_INVALID" },
            { "GET", "a/b/tags/list?n=many", 400, "PAGINATION_NUMBER_INVALID" },
            { "GET", "_catalog?n=x", 400, "PAGINATION_NUMBER_INVALID" },
            { "GET", "a/b/referrers/sha256:short", 400, "DIGEST_INVALID" },
            { "GET", "a/b/nothing/here", 404, "UNSUPPORTED" },
            { "POST", "a/b/manifests/1", 405, "UNSUPPORTED" },
            { "PUT", "a/b/tags/list", 405, "UNSUPPORTED" },
        };

    public static TheoryData<string, string, string> Manifests =>
        new()
        {
            { "not JSON", "{", MediaTypes.OciManifest },
            { "not an object", "[]", MediaTypes.OciManifest },
            { "schema 1", """{"schemaVersion":1}""", MediaTypes.OciManifest },
            { "no config", """{"schemaVersion":2,"layers":[]}""", MediaTypes.OciManifest },
            { "unknown type", """{"schemaVersion":2}""", "application/vnd.other" },
            {
                "another type than sent",
                $$"""{"schemaVersion":2,"mediaType":"{{MediaTypes.OciIndex}}","manifests":[]}""",
                MediaTypes.OciManifest
            },
            {
                "bad digest inside",
                """{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:x","size":1},"layers":[]}""",
                MediaTypes.OciManifest
            },
            {
                "layers that are no list",
                $$"""{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:{{Zeros}}","size":1},"layers":5}""",
                MediaTypes.OciManifest
            },
            {
                "negative size",
                $$"""{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:{{Zeros}}","size":-1},"layers":[]}""",
                MediaTypes.OciManifest
            },
        };

    [Theory]
    [MemberData(nameof(Requests))]
    public async Task A_bad_request_gets_its_code(string method, string path, int status, string code)
    {
        using var response = await fixture.Http.SendAsync(
            method,
            path,
            method is "PUT" or "PATCH" ? Samples.EmptyJson : null
        );

        await response.ShouldFailAsync(status, code);
    }

    [Theory]
    [MemberData(nameof(Manifests))]
    public async Task A_manifest_that_is_not_one_is_refused(string what, string content, string contentType)
    {
        using var response = await fixture.Http.PutManifestAsync(
            Samples.Repository(),
            "1",
            System.Text.Encoding.UTF8.GetBytes(content),
            contentType
        );

        Assert.NotEmpty(what);
        await response.ShouldFailAsync(400, "MANIFEST_INVALID");
    }

    [Fact]
    public async Task A_missing_digest_at_the_end_of_an_upload_is_named()
    {
        var location = await fixture.Http.StartUploadAsync(Samples.Repository());

        using var response = await fixture.Http.SendAsync("PUT", location, []);

        await response.ShouldFailAsync(400, "DIGEST_INVALID");
    }

    [Fact]
    public async Task A_blob_over_the_limit_gets_413_announced_or_not()
    {
        await using var server = await TestServer.StartAsync(options => options with { MaxBlobBytes = 1000 });
        var location = await server.Http.StartUploadAsync("a");
        var content = Samples.Bytes(1001);

        using var announced = await server.Http.PutUploadAsync(location, Digest.Of(content), content);
        await announced.ShouldFailAsync(413, "SIZE_INVALID");
        using var request = new HttpRequestMessage(HttpMethod.Patch, location)
        {
            Content = new ByteArrayContent(content),
        };
        request.Headers.TransferEncodingChunked = true;
        using var streamed = await server.Http.SendAsync(request);

        await streamed.ShouldFailAsync(413, "SIZE_INVALID");
    }

    [Fact]
    public async Task An_error_to_HEAD_has_no_body_but_its_length()
    {
        using var response = await fixture.Http.SendAsync("HEAD", "a/b/manifests/unknown");

        Assert.Equal("application/json", response.Header("Content-Type"));
        Assert.Empty(await response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task A_client_learns_that_this_is_a_registry()
    {
        using var response = await fixture.Http.GetAsync("");

        Assert.Equal("registry/2.0", response.Header("Docker-Distribution-Api-Version"));
        Assert.Equal("{}", await response.Content.ReadAsStringAsync());
    }
}
