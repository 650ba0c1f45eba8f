using System.Net;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>Pulling, mounting and deleting blobs.</summary>
public sealed class BlobTests(ServerFixture fixture)
{
    private HttpClient Http => fixture.Http;

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(300_000)]
    public async Task Head_and_get_tell_size_digest_and_type(int size)
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(size);
        var digest = await Http.PushBlobAsync(repository, content);

        foreach (var method in new[] { "HEAD", "GET" })
        {
            using var response = await Http.SendAsync(method, $"{repository}/blobs/{digest}");
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal($"{size}", response.Header("Content-Length"));
            Assert.Equal(digest.ToString(), response.Header("Docker-Content-Digest"));
            Assert.Equal("application/octet-stream", response.Header("Content-Type"));
            Assert.Equal(method == "HEAD" ? [] : content, await response.Content.ReadAsByteArrayAsync());
        }
    }

    [Theory]
    [InlineData("bytes=500-1499", 206, 500, 1499)]
    [InlineData("bytes=500-", 206, 500, 2047)]
    [InlineData("bytes=-500", 206, 1548, 2047)]
    [InlineData("bytes=-5000", 206, 0, 2047)]
    [InlineData("bytes=2000-5000", 206, 2000, 2047)]
    [InlineData("bytes=0-0", 206, 0, 0)]
    [InlineData("bytes=500-0", 416, 0, 0)]
    [InlineData("bytes=5000-10000", 416, 0, 0)]
    [InlineData("bytes=2048-", 416, 0, 0)]
    [InlineData("bytes=-0", 416, 0, 0)]
    [InlineData("bytes=0-1,5-6", 200, 0, 2047)]
    [InlineData("lines=0-1", 200, 0, 2047)]
    [InlineData("bytes=-", 200, 0, 2047)]
    [InlineData("bytes=a-b", 200, 0, 2047)]
    public async Task Ranges(string range, int status, int first, int last)
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(2048);
        var digest = await Http.PushBlobAsync(repository, content);

        using var response = await Http.SendAsync("GET", $"{repository}/blobs/{digest}", headers: ("Range", range));

        Assert.Equal(status, (int)response.StatusCode);
        if (status == 416)
        {
            Assert.Equal("bytes */2048", response.Header("Content-Range"));
            await response.ShouldFailAsync(416, "SIZE_INVALID");
            return;
        }

        Assert.Equal(content[first..(last + 1)], await response.Content.ReadAsByteArrayAsync());
        Assert.Equal($"{last - first + 1}", response.Header("Content-Length"));
        Assert.Equal(status == 206 ? $"bytes {first}-{last}/2048" : null, response.Header("Content-Range"));
    }

    [Fact]
    public async Task A_client_that_has_the_blob_gets_304()
    {
        var repository = Samples.Repository();
        var digest = await Http.PushBlobAsync(repository, Samples.Bytes(10));
        var path = $"{repository}/blobs/{digest}";
        using var response = await Http.GetAsync(path);
        var tag = response.Header("ETag")!;

        foreach (var (condition, status) in new[] { (tag, 304), ($"\"x\", W/{tag}", 304), ("*", 304), ("\"x\"", 200) })
        {
            using var again = await Http.SendAsync("GET", path, headers: ("If-None-Match", condition));
            Assert.Equal(status, (int)again.StatusCode);
        }
    }

    [Fact]
    public async Task If_Range_of_other_content_sends_the_whole()
    {
        var repository = Samples.Repository();
        var digest = await Http.PushBlobAsync(repository, Samples.Bytes(10));

        using var response = await Http.SendAsync(
            "GET",
            $"{repository}/blobs/{digest}",
            headers: [("Range", "bytes=0-1"), ("If-Range", "\"other\"")]
        );

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Theory]
    [InlineData("sha256")]
    [InlineData("sha512")]
    public async Task A_deleted_blob_is_gone_here_and_stays_where_it_was_mounted(string algorithm)
    {
        var (first, second) = (Samples.Repository(), Samples.Repository());
        var content = Samples.Bytes(100);
        var digest = await Http.PushBlobAsync(first, content, algorithm);
        using var mounted = await Http.SendAsync("POST", $"{second}/blobs/uploads/?mount={digest}&from={first}");
        Assert.Equal(HttpStatusCode.Created, mounted.StatusCode);
        Assert.Equal($"/v2/{second}/blobs/{digest}", mounted.Headers.Location!.ToString());
        Assert.Equal(digest.ToString(), mounted.Header("Docker-Content-Digest"));

        Assert.Equal(HttpStatusCode.Accepted, await Http.StatusAsync("DELETE", $"{first}/blobs/{digest}"));

        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("HEAD", $"{first}/blobs/{digest}"));
        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("DELETE", $"{first}/blobs/{digest}"));
        Assert.Equal(content, await Http.GetByteArrayAsync($"{second}/blobs/{digest}"));
        Assert.Equal(digest, await Http.PushBlobAsync(first, content, algorithm));
        Assert.Equal(content, await Http.GetByteArrayAsync($"{first}/blobs/{digest}"));
    }

    [Fact]
    public async Task A_mount_that_names_no_source_finds_the_blob_anywhere()
    {
        var repository = Samples.Repository();
        var digest = await Http.PushBlobAsync(Samples.Repository(), Samples.Bytes(100));

        using var response = await Http.SendAsync("POST", $"{repository}/blobs/uploads/?mount={digest}");

        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
    }

    [Theory]
    [InlineData("")]
    [InlineData("&from=no/such/repository")]
    [InlineData("&from=NOT-A-NAME")]
    public async Task A_mount_of_a_blob_that_is_not_there_becomes_an_upload(string from)
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(100);
        var digest = Digest.Of(content);

        var location = await Http.StartUploadAsync(repository, $"?mount={digest}{from}");

        using var response = await Http.PutUploadAsync(location, digest, content);
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
    }

    [Fact]
    public async Task A_blob_of_one_repository_is_unknown_in_another_and_not_mounted_from_a_wrong_one()
    {
        var (first, second) = (Samples.Repository(), Samples.Repository());
        var digest = await Http.PushBlobAsync(first, Samples.Bytes(100));

        using var response = await Http.GetAsync($"{second}/blobs/{digest}");

        await response.ShouldFailAsync(404, "BLOB_UNKNOWN");
        await Http.StartUploadAsync(Samples.Repository(), $"?mount={digest}&from={second}");
    }

    [Fact]
    public async Task A_blob_that_a_manifest_needs_is_not_deleted()
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(100);
        var digest = await Http.PushBlobAsync(repository, content);
        var manifest = await Http.PushAsync(
            repository,
            Samples.Image(Samples.Descriptor(content, MediaTypes.OciLayerTar)),
            "1"
        );

        using var refused = await Http.SendAsync("DELETE", $"{repository}/blobs/{digest}");
        await refused.ShouldFailAsync(405, "UNSUPPORTED");
        await Http.StatusAsync("DELETE", $"{repository}/manifests/{manifest["digest"]}");

        Assert.Equal(HttpStatusCode.Accepted, await Http.StatusAsync("DELETE", $"{repository}/blobs/{digest}"));
    }
}
