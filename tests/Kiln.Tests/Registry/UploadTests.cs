using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using Kiln.Oci;

namespace Kiln.Tests.Registry;

/// <summary>Every way to push a blob, and every way to get it wrong.</summary>
public sealed class UploadTests(ServerFixture fixture)
{
    private HttpClient Http => fixture.Http;

    public static TheoryData<string, string> WaysAndAlgorithms =>
        [
            .. from way in new[] { "post", "put", "chunked", "chunk-in-put", "stream" }
            from algorithm in new[] { "sha256", "sha512" }
            select new TheoryDataRow<string, string>(way, algorithm),
        ];

    [Theory]
    [MemberData(nameof(WaysAndAlgorithms))]
    public async Task A_blob_pushed_in_any_way_is_pulled_under_its_own_digest(string way, string algorithm)
    {
        foreach (var content in new[] { Samples.Bytes(100_000), [], Samples.EmptyJson })
        {
            var repository = Samples.Repository();
            var digest = Digest.Of(content, algorithm);

            using var pushed = await PushAsync(way, repository, content, digest);

            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
            Assert.Equal(digest.ToString(), pushed.Header("Docker-Content-Digest"));
            using var pulled = await Http.GetAsync(pushed.Headers.Location);
            Assert.Equal(content, await pulled.Content.ReadAsByteArrayAsync());
            Assert.Equal(digest.ToString(), pulled.Header("Docker-Content-Digest"));
        }
    }

    [Theory]
    [MemberData(nameof(WaysAndAlgorithms))]
    public async Task A_digest_that_does_not_match_is_refused_and_nothing_is_stored(string way, string algorithm)
    {
        var repository = Samples.Repository();
        var digest = Digest.Of("something else"u8, algorithm);

        using var pushed = await PushAsync(way, repository, Samples.Bytes(5000), digest);

        await pushed.ShouldFailAsync(400, "DIGEST_INVALID");
        Assert.Equal(HttpStatusCode.NotFound, await Http.StatusAsync("HEAD", $"{repository}/blobs/{digest}"));
    }

    [Fact]
    public async Task After_a_wrong_digest_the_same_session_takes_the_right_one()
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(3000);
        var location = await Http.StartUploadAsync(repository);
        using var chunk = await Http.SendAsync("PATCH", location, content[..1000], MediaTypes.OctetStream);

        using var wrong = await Http.PutUploadAsync(location, Digest.Of("x"u8), content[1000..]);
        await wrong.ShouldFailAsync(400, "DIGEST_INVALID");
        using var right = await Http.PutUploadAsync(location, Digest.Of(content), content[1000..]);

        Assert.Equal(HttpStatusCode.Created, right.StatusCode);
    }

    [Theory]
    [InlineData("PATCH", "2048-3071")]
    [InlineData("PUT", "2048-3071")]
    [InlineData("PATCH", "0-1023")]
    [InlineData("PUT", "0-1023")]
    [InlineData("PATCH", "nonsense")]
    [InlineData("PATCH", "1024-1023")]
    public async Task A_chunk_out_of_order_gets_416_and_the_session_goes_on(string method, string range)
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(2048);
        var digest = Digest.Of(content);
        var location = await Http.StartUploadAsync(repository);
        using var first = await PatchAsync(location, content[..1024], "0-1023");
        Assert.Equal("0-1023", first.Header("Range"));

        using var wrong = await Http.SendAsync(
            method,
            method == "PUT" ? $"{location}?digest={digest}" : location,
            content[1024..],
            MediaTypes.OctetStream,
            ("Content-Range", range)
        );

        await wrong.ShouldFailAsync(416, "BLOB_UPLOAD_INVALID");
        Assert.Equal("0-1023", wrong.Header("Range"));
        using var status = await Http.GetAsync(location);
        Assert.Equal(HttpStatusCode.NoContent, status.StatusCode);
        Assert.Equal("0-1023", status.Header("Range"));
        Assert.Equal(location, status.Headers.Location!.ToString());
        using var second = await PatchAsync(location, content[1024..], "1024-2047");
        Assert.Equal(HttpStatusCode.Accepted, second.StatusCode);
        using var end = await Http.PutUploadAsync(location, digest, []);
        Assert.Equal(HttpStatusCode.Created, end.StatusCode);
    }

    [Fact]
    public async Task A_chunk_whose_length_is_not_its_range_is_refused()
    {
        var location = await Http.StartUploadAsync(Samples.Repository());

        using var response = await PatchAsync(location, Samples.Bytes(10), "0-99");

        await response.ShouldFailAsync(400, "SIZE_INVALID");
    }

    [Fact]
    public async Task A_new_upload_says_where_it_is_and_that_it_is_empty()
    {
        var repository = Samples.Repository();
        using var started = await Http.SendAsync("POST", $"{repository}/blobs/uploads/");

        Assert.StartsWith($"/v2/{repository}/blobs/uploads/", started.Headers.Location!.ToString());
        Assert.Equal("0-0", started.Header("Range"));
        Assert.NotNull(started.Header("Docker-Upload-UUID"));
        using var status = await Http.GetAsync(started.Headers.Location);
        Assert.Equal("0-0", status.Header("Range"));
    }

    [Fact]
    public async Task A_cancelled_upload_is_gone()
    {
        var location = await Http.StartUploadAsync(Samples.Repository());
        using var chunk = await PatchAsync(location, Samples.Bytes(10), "0-9");

        Assert.Equal(HttpStatusCode.NoContent, await Http.StatusAsync("DELETE", location));

        foreach (var method in new[] { "GET", "DELETE", "PATCH" })
        {
            using var response = await Http.SendAsync(method, location);
            await response.ShouldFailAsync(404, "BLOB_UPLOAD_UNKNOWN");
        }
    }

    [Fact]
    public async Task An_upload_of_one_repository_is_unknown_in_another()
    {
        var location = await Http.StartUploadAsync(Samples.Repository());

        using var response = await Http.GetAsync($"{Samples.Repository()}/blobs/uploads/{location.Split('/')[^1]}");

        await response.ShouldFailAsync(404, "BLOB_UPLOAD_UNKNOWN");
    }

    [Theory]
    [InlineData("sha512")]
    [InlineData("sha256")]
    public async Task The_algorithm_announced_at_the_start_and_another_at_the_end_both_work(string announced)
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(5000);
        var location = await Http.StartUploadAsync(repository, $"?digest-algorithm={announced}");
        using var chunk = await PatchAsync(location, content, "0-4999");

        using var end = await Http.PutUploadAsync(location, Digest.Of(content, Digest.Sha512), []);

        Assert.Equal(HttpStatusCode.Created, end.StatusCode);
    }

    [Fact]
    public async Task A_second_writer_of_the_same_upload_is_told_to_wait()
    {
        var repository = Samples.Repository();
        var location = await Http.StartUploadAsync(repository);
        var content = Samples.Bytes(3000);
        // The second may be there before the first, which is then told to wait, or each be in the other's way: once more.
        await WaitForAsync(async () =>
        {
            var gate = new TaskCompletionSource();
            var first = SendSlowlyAsync(location, content, gate.Task);
            var told = false;
            while (!told && !first.IsCompleted)
            {
                using var second = await Http.SendAsync("PATCH", location, [1], MediaTypes.OctetStream);
                told = second.StatusCode == HttpStatusCode.Conflict;
            }

            gate.SetResult();
            using var done = await first;
            return told && done.StatusCode == HttpStatusCode.Accepted;
        });
    }

    [Fact]
    public async Task What_came_of_a_broken_chunk_is_kept_and_the_upload_goes_on_from_there()
    {
        var repository = Samples.Repository();
        // More than the 8 MiB that go to a bucket at a time.
        var content = Samples.Bytes(20 << 20);
        var location = await Http.StartUploadAsync(repository);
        var head = $"PATCH {location} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {content.Length}\r\n\r\n";
        await BreakOffAsync(head, content[..(12 << 20)], async () => await ReceivedAsync(location) > 1 << 20);

        await WaitForAsync(async () =>
        {
            var next = await ReceivedAsync(location);
            using var rest = await PatchAsync(location, content[next..], $"{next}-{content.Length - 1}");
            return rest.StatusCode == HttpStatusCode.Accepted;
        });

        using var end = await Http.PutUploadAsync(location, Digest.Of(content), []);
        Assert.Equal(HttpStatusCode.Created, end.StatusCode);
    }

    [Fact]
    public async Task A_put_that_broke_off_can_be_sent_again_as_a_whole()
    {
        var repository = Samples.Repository();
        var content = Samples.Bytes(10_000);
        var digest = Digest.Of(content);
        var location = await Http.StartUploadAsync(repository);
        await BreakOffAsync(
            $"PUT {location}?digest={digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n",
            content[..4000],
            () => Task.FromResult(true)
        );

        await WaitForAsync(async () =>
        {
            using var again = await Http.PutUploadAsync(location, digest, content);
            return again.StatusCode == HttpStatusCode.Created;
        });
    }

    private async Task<HttpResponseMessage> PushAsync(string way, string repository, byte[] content, Digest digest)
    {
        if (way == "post")
        {
            var path = $"{repository}/blobs/uploads/?digest={digest}";
            return await Http.SendAsync("POST", path, content, MediaTypes.OctetStream);
        }

        var location = await Http.StartUploadAsync(repository);
        var half = content.Length / 2;
        switch (way)
        {
            case "put":
                return await Http.PutUploadAsync(location, digest, content);
            case "stream":
                using (var streamed = await SendSlowlyAsync(location, content, Task.CompletedTask))
                {
                    Assert.Equal(HttpStatusCode.Accepted, streamed.StatusCode);
                }

                return await Http.PutUploadAsync(location, digest, []);
            case "chunked" when half > 0:
                using (await PatchAsync(location, content[..half], $"0-{half - 1}"))
                using (await PatchAsync(location, content[half..], $"{half}-{content.Length - 1}"))
                {
                    return await Http.PutUploadAsync(location, digest, []);
                }

            case "chunk-in-put" when half > 0:
                using (await PatchAsync(location, content[..half], $"0-{half - 1}"))
                {
                    return await Http.SendAsync(
                        "PUT",
                        $"{location}?digest={digest}",
                        content[half..],
                        MediaTypes.OctetStream,
                        ("Content-Range", $"{half}-{content.Length - 1}")
                    );
                }

            default:
                return await Http.PutUploadAsync(location, digest, content);
        }
    }

    private Task<HttpResponseMessage> PatchAsync(string location, byte[] chunk, string range) =>
        Http.SendAsync("PATCH", location, chunk, MediaTypes.OctetStream, ("Content-Range", range));

    // Without a length, in two parts with a wait between.
    private async Task<HttpResponseMessage> SendSlowlyAsync(string location, byte[] content, Task gate)
    {
        using var request = new HttpRequestMessage(HttpMethod.Patch, location)
        {
            Content = new GatedContent(content, gate),
        };
        request.Headers.TransferEncodingChunked = true;
        return await Http.SendAsync(request);
    }

    private async Task<int> ReceivedAsync(string location)
    {
        using var status = await Http.GetAsync(location);
        var last = int.Parse(status.Header("Range")!.Split('-')[1]);
        return last == 0 ? 0 : last + 1;
    }

    private async Task BreakOffAsync(string head, byte[] part, Func<Task<bool>> until)
    {
        using var socket = new TcpClient();
        await socket.ConnectAsync("127.0.0.1", new Uri(fixture.Server.Url).Port);
        var stream = socket.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes(head));
        await stream.WriteAsync(part);
        await WaitForAsync(until);
    }

    private static async Task WaitForAsync(Func<Task<bool>> condition)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (!await condition())
        {
            await Task.Delay(10, timeout.Token);
        }
    }

    private sealed class GatedContent(byte[] content, Task gate) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            await stream.WriteAsync(content.AsMemory(0, content.Length / 2));
            await stream.FlushAsync();
            await gate;
            await stream.WriteAsync(content.AsMemory(content.Length / 2));
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
