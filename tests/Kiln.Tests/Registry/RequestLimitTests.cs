using System.Net;
using System.Text;
using Kiln.Server.Access.Connections;

namespace Kiln.Tests.Registry;

/// <summary>How long a request's head may be, and how many connections there may be.</summary>
public sealed class RequestLimitTests(ServerFixture fixture)
{
    [Theory]
    [InlineData(16_300, 404, "MANIFEST_UNKNOWN")]
    [InlineData(16_500, 414, "UNSUPPORTED")]
    public async Task An_address_past_the_limit_is_told_the_limit(int length, int status, string code)
    {
        var path = $"{Samples.Repository()}/manifests/1?x=";

        using var response = await fixture.Http.GetAsync(path + new string('x', length - "/v2/".Length - path.Length));

        await response.ShouldFailAsync(status, code);
    }

    [Theory]
    [InlineData(1, 30_000, 200)]
    [InlineData(1, 33_000, 431)]
    [InlineData(90, 10, 200)]
    [InlineData(150, 10, 431)]
    public async Task Headers_past_the_limit_are_told_the_limit(int count, int length, int status)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, fixture.Server.OwnUrl + "/v2/");
        for (var i = 0; i < count; i++)
        {
            request.Headers.Add($"X-{i}", new string('x', length));
        }

        using var response = await fixture.Http.SendAsync(request);

        Assert.Equal(status, (int)response.StatusCode);
        if (status == 431)
        {
            await response.ShouldFailAsync(431, "UNSUPPORTED");
        }
    }

    [Fact]
    public async Task Connections_past_the_limit_are_closed_and_there_is_room_again_once_one_ends()
    {
        await using var server = await TestServer.StartAsync(options => options with { MaxConnections = 2 });
        var first = await RawClient.ConnectAsync(server.OwnUrl);
        await using var second = await RawClient.ConnectAsync(server.OwnUrl);
        foreach (var client in new[] { first, second })
        {
            await PingAsync(client);
            Assert.StartsWith("HTTP/1.1 200 ", await client.ReceiveAsync(), StringComparison.Ordinal);
        }

        Assert.Equal("", await TryAsync(server.OwnUrl));
        await first.DisposeAsync();

        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (
            await TryAsync(server.OwnUrl) is var answer && !answer.StartsWith("HTTP/1.1 200 ", StringComparison.Ordinal)
        )
        {
            await Task.Delay(20, patience.Token);
        }
    }

    [Theory]
    [InlineData(10_000, "1048576", 10_000)]
    [InlineData(10_000, "1024", 412)]
    [InlineData(100, "1024", 100)]
    [InlineData(10_000, "64", 16)]
    [InlineData(10_000, "unlimited", 10_000)]
    public void As_many_connections_as_there_are_files_for(int wanted, string files, int expected) =>
        Assert.Equal(
            expected,
            ConnectionLimit.Of(
                wanted,
                $"Max processes  1  2  processes\nMax open files            {files}  1048576  files\n"
            )
        );

    [Theory]
    [InlineData("GET", true)]
    [InlineData("HEAD", true)]
    [InlineData("DELETE", false)]
    public async Task The_registry_answers_to_its_own_name_as_a_namespace(string method, bool answered)
    {
        var host = new Uri(fixture.Server.Url).Authority;
        var repository = Samples.Repository();
        await fixture.Http.PushAsync(repository, Samples.Image(), "1");

        using var own = await fixture.Http.SendAsync(method, $"{repository}/manifests/1?ns={host}");
        using var other = await fixture.Http.SendAsync(method, $"{repository}/manifests/1?ns=docker.io");

        Assert.Equal(answered ? host : null, own.Header("OCI-Namespace"));
        Assert.Null(other.Header("OCI-Namespace"));
        Assert.True(own.IsSuccessStatusCode);
    }

    [Fact]
    public async Task Uploads_past_the_limit_are_told_to_come_back_and_there_is_room_once_one_ends()
    {
        await using var server = await TestServer.StartAsync(options => options with { MaxUploads = 2 });
        var first = await server.Http.StartUploadAsync("a");
        await server.Http.StartUploadAsync("a");

        using var refused = await server.Http.SendAsync("POST", "a/blobs/uploads/");
        await refused.ShouldFailAsync(429, "TOOMANYREQUESTS");
        Assert.InRange(int.Parse(refused.Header("Retry-After")!), 1, 3600);
        await server.Http.StartUploadAsync("b");
        Assert.Equal(HttpStatusCode.NoContent, await server.Http.StatusAsync("DELETE", first));
        await server.Http.StartUploadAsync("a");
    }

    [Fact]
    public async Task A_page_has_so_many_entries_at_most_whatever_n_says()
    {
        var repository = Samples.Repository();
        await fixture.Http.PushBlobAsync(repository, Samples.EmptyJson);
        var content = Samples.Image().Encode();
        var tags = Enumerable.Range(0, 10_050).Select(i => $"t{i:00000}").ToList();
        foreach (var part in tags.Chunk(1200))
        {
            var query = string.Join('&', part.Select(t => $"tag={t}"));
            using var pushed = await fixture.Http.PutManifestAsync(
                repository,
                $"{Kiln.Oci.Digest.Of(content)}?{query}",
                content
            );
            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        }

        using var page = await fixture.Http.GetAsync($"{repository}/tags/list?n=2000000000");
        var text = await page.Content.ReadAsStringAsync();

        Assert.Equal(10_000, text.Split("\"t0").Length - 1 + text.Split("\"t1").Length - 1);
        Assert.Contains("last=t09999", page.Header("Link"), StringComparison.Ordinal);
        // Who names no n gets all of them.
        Assert.Equal(tags, await fixture.Http.TagsAsync(repository));
    }

    private static Task PingAsync(RawClient client) =>
        client.SendAsync(Encoding.ASCII.GetBytes("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"));

    private static async Task<string> TryAsync(string url)
    {
        await using var client = await RawClient.ConnectAsync(url);
        try
        {
            await PingAsync(client);
        }
        catch (IOException)
        {
            return "";
        }

        return await client.ReceiveAsync();
    }
}
