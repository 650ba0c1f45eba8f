using System.Net;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Registry;
using Kiln.TestPrograms;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Registry.Upstreams;

/// <summary>An upstream that is slow, breaks off, dies and comes back.</summary>
public sealed class OutageTests : IDisposable
{
    private const int Large = 24 << 20;
    private readonly DockerRegistry _registry = ThroughServer.RequireRegistry();
    private readonly HttpClient _there;
    private readonly TcpRelay _relay;

    public OutageTests()
    {
        _there = ThroughServer.ClientOf(_registry.Host);
        _relay = new TcpRelay(_registry.Port);
    }

    public void Dispose()
    {
        _relay.Dispose();
        _there.Dispose();
        _registry.Dispose();
    }

    private Task<ThroughServer> StartAsync(Func<UpstreamOptions, UpstreamOptions>? change = null) =>
        ThroughServer.StartAsync($"http://{_relay.Host}", change);

    private async Task<(byte[] Layer, Digest Blob)> PushLargeAsync()
    {
        var layer = Samples.Bytes(Large);
        return (layer, await _there.PushBlobAsync("library/app", layer));
    }

    private static async Task<byte[]> ReadAsync(Stream stream, int count)
    {
        var bytes = new byte[count];
        await stream.ReadExactlyAsync(bytes);
        return bytes;
    }

    private static long? SizeHere(ThroughServer server, Digest blob) =>
        server.Server.Services.GetRequiredService<Blobs>().Size(RepositoryName.Parse("hub/library/app"), blob);

    [Fact]
    public async Task The_first_bytes_go_out_before_the_last_have_come_and_a_client_that_leaves_wastes_nothing()
    {
        var (layer, blob) = await PushLargeAsync();
        await using var server = await StartAsync();
        _relay.HoldAfter(8 << 20);
        using (
            var answer = await server.Http.GetAsync(
                $"hub/library/app/blobs/{blob}",
                HttpCompletionOption.ResponseHeadersRead
            )
        )
        {
            Assert.Equal(layer.Length, answer.Content.Headers.ContentLength);
            await using var body = await answer.Content.ReadAsStreamAsync();
            Assert.Equal(layer[..(4 << 20)], await ReadAsync(body, 4 << 20));
            Assert.Null(SizeHere(server, blob));
        }

        // The client has left; another one joins what is under way.
        var second = server.Http.GetByteArrayAsync($"hub/library/app/blobs/{blob}");
        _relay.LetThrough();

        Assert.Equal(layer, await second);
        Assert.Equal(layer.Length, SizeHere(server, blob));
        Assert.Equal(1, _registry.Requests($"GET /v2/library/app/blobs/{blob}"));
    }

    [Fact]
    public async Task A_transfer_goes_on_where_the_connection_broke()
    {
        var (layer, blob) = await PushLargeAsync();
        await using var server = await StartAsync();
        _relay.HoldAfter(8 << 20);
        using var answer = await server.Http.GetAsync(
            $"hub/library/app/blobs/{blob}",
            HttpCompletionOption.ResponseHeadersRead
        );
        await using var body = await answer.Content.ReadAsStreamAsync();
        var start = await ReadAsync(body, 4 << 20);

        _relay.Cut();
        _relay.LetThrough();

        Assert.Equal<byte[]>(layer, [.. start, .. await ReadAsync(body, Large - start.Length)]);
        Assert.Equal(layer.Length, SizeHere(server, blob));
        Assert.Equal(1, _registry.Requests($"GET /v2/library/app/blobs/{blob}", "\" 206 "));
    }

    [Fact]
    public async Task An_upstream_that_is_killed_in_mid_transfer_and_started_again_costs_the_client_nothing()
    {
        var (layer, blob) = await PushLargeAsync();
        await using var server = await StartAsync();
        _relay.HoldAfter(8 << 20);
        using var answer = await server.Http.GetAsync(
            $"hub/library/app/blobs/{blob}",
            HttpCompletionOption.ResponseHeadersRead
        );
        await using var body = await answer.Content.ReadAsStreamAsync();
        var start = await ReadAsync(body, 4 << 20);

        // The line is held meanwhile, so that it is found broken when the registry is there again.
        _registry.Kill();
        _registry.Start();
        _relay.Cut();
        _relay.LetThrough();

        Assert.Equal<byte[]>(layer, [.. start, .. await ReadAsync(body, Large - start.Length)]);
    }

    [Fact]
    public async Task Of_a_transfer_that_never_ends_nothing_is_published_and_the_next_one_succeeds()
    {
        var (layer, blob) = await PushLargeAsync();
        await using var server = await StartAsync();
        _relay.HoldAfter(8 << 20);
        using (
            var answer = await server.Http.GetAsync(
                $"hub/library/app/blobs/{blob}",
                HttpCompletionOption.ResponseHeadersRead
            )
        )
        {
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            await using var body = await answer.Content.ReadAsStreamAsync();
            await ReadAsync(body, 4 << 20);
            _registry.Kill();
            _relay.Cut();
            _relay.LetThrough();
            var broken = await Record.ExceptionAsync(() => ReadAsync(body, Large - (4 << 20)));
            Assert.True(broken is IOException, $"{broken}");
        }

        Assert.Null(SizeHere(server, blob));
        using (var meanwhile = await server.Http.GetAsync($"hub/library/app/blobs/{blob}"))
        {
            await meanwhile.ShouldFailAsync(503, "UNAVAILABLE");
            Assert.NotNull(meanwhile.Header("Retry-After"));
        }

        _registry.Start();
        server.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"hub/library/app/blobs/{blob}"));
    }

    [Theory]
    [InlineData(OfflinePolicy.Stale, 200)]
    [InlineData(OfflinePolicy.Fail, 503)]
    public async Task While_the_upstream_is_down_tags_are_what_the_policy_says(OfflinePolicy policy, int status)
    {
        var image = await _there.PushAsync("library/app", Samples.Image(), "1");
        await using var server = await StartAsync(o => o with { Offline = policy });
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/library/app/manifests/1"));
        Assert.Equal(
            HttpStatusCode.OK,
            await server.Http.StatusAsync("GET", $"hub/library/app/blobs/{Digest.EmptyJson}")
        );
        _registry.Kill();
        _relay.Cut();

        using (var fresh = await server.Http.GetAsync("hub/library/app/manifests/1"))
        {
            Assert.Equal(HttpStatusCode.OK, fresh.StatusCode);
            Assert.Null(fresh.Header("Warning"));
        }

        server.Time.Advance(TimeSpan.FromHours(1));
        using (var old = await server.Http.GetAsync("hub/library/app/manifests/1"))
        {
            Assert.Equal(status, (int)old.StatusCode);
            Assert.Equal(
                status == 200,
                old.Header("Warning")?.StartsWith("299 - \"", StringComparison.Ordinal) ?? false
            );
        }

        foreach (var path in new[] { $"manifests/{image["digest"]}", $"blobs/{Digest.EmptyJson}" })
        {
            Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"hub/library/app/{path}"));
        }

        using (var absent = await server.Http.GetAsync("hub/library/app/manifests/2"))
        {
            await absent.ShouldFailAsync(503, "UNAVAILABLE");
        }

        _registry.Start();
        server.Time.Advance(TimeSpan.FromMinutes(1));
        using var again = await server.Http.GetAsync("hub/library/app/manifests/1");
        Assert.Equal(HttpStatusCode.OK, again.StatusCode);
        Assert.Null(again.Header("Warning"));
    }

    [Fact]
    public async Task An_upstream_that_is_never_asked_is_what_is_here()
    {
        await _there.PushAsync("library/app", Samples.Image(), "1");
        await _there.PushAsync("library/app", Samples.Image(), "2");
        var offline = OfflinePolicy.Stale;
        await using var server = await StartAsync(o => o with { Offline = offline });
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
        offline = OfflinePolicy.Always;
        await server.Server.RestartAsync();
        server.Time.Advance(TimeSpan.FromDays(1));
        var asked = _registry.Requests("/v2/");

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/library/app/manifests/1"));
        Assert.Equal(["1"], await server.Http.TagsAsync("hub/library/app"));
        using var absent = await server.Http.GetAsync("hub/library/app/manifests/2");
        await absent.ShouldFailAsync(404, "MANIFEST_UNKNOWN");
        using var blob = await server.Http.GetAsync($"hub/library/app/blobs/{Digest.EmptyJson}");
        await blob.ShouldFailAsync(404, "BLOB_UNKNOWN");
        Assert.Equal(asked, _registry.Requests("/v2/"));
    }

    [Fact]
    public async Task The_second_address_answers_where_the_first_does_not()
    {
        await _there.PushAsync("library/app", Samples.Image(), "1");
        await using var server = await StartAsync(o =>
            o with
            {
                Urls = [new Uri("http://127.0.0.1:1"), new Uri($"http://{_relay.Host}/library")],
            }
        );

        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", "hub/app/manifests/1"));
    }
}
