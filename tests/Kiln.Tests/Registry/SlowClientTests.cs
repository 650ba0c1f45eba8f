using System.Net;
using Kiln.Oci;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Registry;

/// <summary>Clients that keep a connection and send or take next to nothing.</summary>
public sealed class SlowClientTests
{
    [Theory]
    [InlineData("PATCH", "")]
    [InlineData("PUT", "?digest=sha256:0000000000000000000000000000000000000000000000000000000000000000")]
    public async Task An_upload_that_trickles_is_cut_off_and_can_go_on_later(string method, string query)
    {
        await using var server = await StartAsync();
        var content = Samples.Bytes(10_000);
        var location = await server.Http.StartUploadAsync("a");
        await using var client = await RawClient.ConnectAsync(server.Url);
        await client.SendAsync(
            $"{method} {location}{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n"
        );
        await client.SendAsync(content.AsMemory(0, 100));

        var answer = await client.ReceiveAsync();

        Assert.StartsWith("HTTP/1.1 408 ", answer, StringComparison.Ordinal);
        Assert.Contains("\"errors\"", answer, StringComparison.Ordinal);
        // Of a broken chunk what came is kept; a broken last request leaves the session as it was.
        using var status = await server.Http.GetAsync(location);
        var next = method == "PATCH" ? 100 : 0;
        Assert.Equal(next == 0 ? "0-0" : "0-99", status.Header("Range"));
        using var end = await server.Http.PutUploadAsync(location, Digest.Of(content), content[next..]);
        Assert.Equal(HttpStatusCode.Created, end.StatusCode);
    }

    [Fact]
    public async Task A_reader_that_takes_nothing_is_let_go()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var server = await TestServer.StartAsync(services: s => s.AddSingleton<TimeProvider>(time));
        // More than what the kernel keeps for a connection.
        var digest = await server.Http.PushBlobAsync("a", new byte[64 << 20]);
        await using var client = await RawClient.ConnectAsync(server.Url);
        await client.SendAsync($"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n");

        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        await Assert.ThrowsAsync<IOException>(async () =>
        {
            while (true)
            {
                time.Advance(TimeSpan.FromMinutes(1));
                // A connection that is gone says so to who sends.
                await client.SendAsync("x");
                await Task.Delay(20, patience.Token);
            }
        });
    }

    [Fact]
    public async Task Headers_without_an_end_are_refused_at_their_limit()
    {
        await using var server = await StartAsync();
        await using var client = await RawClient.ConnectAsync(server.OwnUrl);
        await client.SendAsync("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n");
        // Little more than the 48 KiB at which Kestrel ends it: what is sent to a closed connection can cost the answer.
        for (var i = 0; i < 49; i++)
        {
            await client.SendAsync($"X-{i}: {new string('x', 1000)}\r\n");
        }

        Assert.StartsWith("HTTP/1.1 431 ", await client.ReceiveAsync(), StringComparison.Ordinal);
    }

    // Fast enough for a test, and not a rate that this machine falls below.
    private static Task<TestServer> StartAsync() =>
        TestServer.StartAsync(options =>
            options with
            {
                MinBytesPerSecond = 64 << 10,
                SlowClientGrace = TimeSpan.FromSeconds(1.1),
            }
        );
}
