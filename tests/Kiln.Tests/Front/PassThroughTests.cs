using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Access;
using Kiln.Tests.Builds;
using Kiln.Tests.Client;
using Kiln.Tests.Registry;
using Kiln.Tests.Registry.Upstreams;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Front;

/// <summary>What goes through to the registry behind, and comes back, as it is.</summary>
public sealed class PassThroughTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_upload_in_chunks_goes_on_through_the_front_and_lands_behind()
    {
        await using var behind = await FrontServer.OpenAsync();
        await using var front = await FrontServer.StartAsync(behind.Url);
        var (name, bytes) = (Samples.Repository(), Samples.Bytes(3_000_000));
        var location = await front.Http.StartUploadAsync(name);
        foreach (var part in new[] { bytes[..1_000_000], bytes[1_000_000..2_500_000] })
        {
            // The client goes where it is told: were that the registry behind, nothing of this would pass the front.
            Assert.DoesNotContain(new Uri(behind.Url).Authority, location, StringComparison.Ordinal);
            using var chunk = await front.Http.SendAsync("PATCH", location, part, MediaTypes.OctetStream);
            Assert.Equal(HttpStatusCode.Accepted, chunk.StatusCode);
            location = chunk.Headers.Location!.ToString();
        }

        var digest = Digest.Of(bytes);
        using var done = await front.Http.PutUploadAsync(location, digest, bytes[2_500_000..]);
        Assert.Equal(HttpStatusCode.Created, done.StatusCode);
        Assert.Equal(bytes, await behind.Http.GetByteArrayAsync($"{name}/blobs/{digest}", Cancel));
        using var range = await front.Http.SendAsync(
            "GET",
            $"{name}/blobs/{digest}",
            headers: [("Range", "bytes=10-19")]
        );
        Assert.Equal(HttpStatusCode.PartialContent, range.StatusCode);
        Assert.Equal(bytes[10..20], await range.Content.ReadAsByteArrayAsync(Cancel));
        using var head = await front.Http.SendAsync("HEAD", $"{name}/blobs/{digest}");
        Assert.Equal(bytes.Length, head.Content.Headers.ContentLength);
    }

    [Fact]
    public async Task Addresses_that_the_registry_behind_writes_in_full_are_those_of_the_front()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        var own = new Uri(front.Http.BaseAddress!, "/").ToString().TrimEnd('/');
        foreach (
            var (status, location, seen) in new[]
            {
                (
                    202,
                    $"http://{registry.Host}/v2/a/blobs/uploads/1?_state=x%2Fy",
                    $"{own}/v2/a/blobs/uploads/1?_state=x%2Fy"
                ),
                // By whatever name the registry knows itself.
                (202, "https://registry.example.org/v2/a/blobs/uploads/1", $"{own}/v2/a/blobs/uploads/1"),
                (202, "/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1"),
                // A store, where the client is to go itself.
                (
                    307,
                    "https://store.example.org/v2/bucket/key?sig=1",
                    "https://store.example.org/v2/bucket/key?sig=1"
                ),
            }
        )
        {
            registry.Intercept = http =>
            {
                http.Response.StatusCode = status;
                http.Response.Headers.Location = location;
                http.Response.Headers.Link = $"<http://{registry.Host}/v2/_catalog?last=b>; rel=\"next\"";
                return Task.FromResult(true);
            };
            using var quiet = new HttpClient(new HttpClientHandler { AllowAutoRedirect = false });
            using var answer = await quiet.PostAsync(
                new Uri($"{own}/v2/a/blobs/uploads/"),
                new ByteArrayContent([]),
                Cancel
            );
            Assert.Equal(status, (int)answer.StatusCode);
            Assert.Equal(seen, answer.Header("Location"));
            Assert.Equal("</v2/_catalog?last=b>; rel=\"next\"", answer.Header("Link"));
        }
    }

    [Fact]
    public async Task Credentials_and_addresses_go_through_as_they_are_and_what_only_proxies_say_does_not()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        var seen = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        registry.Intercept = http =>
        {
            foreach (var (name, value) in http.Request.Headers)
            {
                seen[name] = value.ToString();
            }

            seen["target"] = http.Features.Get<Microsoft.AspNetCore.Http.Features.IHttpRequestFeature>()!.RawTarget;
            http.Response.StatusCode = 401;
            http.Response.Headers.WWWAuthenticate = "Bearer realm=\"https://auth.example.org/token\",service=\"r\"";
            return Task.FromResult(true);
        };
        using var answer = await front.Http.SendAsync(
            "GET",
            "a/b/manifests/%78?ns=a%2Fb&n=%31",
            headers:
            [
                ("Authorization", "Bearer abc"),
                ("X-Forwarded-For", "203.0.113.9"),
                ("X-Forwarded-Host", "evil.example.org"),
                ("Connection", "X-Mine"),
                ("X-Mine", "1"),
                ("X-Other", "2"),
            ]
        );
        Assert.Equal(
            "Bearer realm=\"https://auth.example.org/token\",service=\"r\"",
            answer.Header("WWW-Authenticate")
        );
        Assert.Equal("Bearer abc", seen["Authorization"]);
        Assert.Equal("127.0.0.1", seen["X-Forwarded-For"]);
        Assert.Equal("2", seen["X-Other"]);
        Assert.Equal(registry.Host, seen["Host"]);
        Assert.DoesNotContain("X-Mine", seen.Keys);
        Assert.DoesNotContain("X-Forwarded-Host", seen.Keys);
        // As it was written: what decodes and encodes it again might mean something else.
        await RawAsync(front, "GET /v2/a/b/manifests/%78?ns=a%2Fb&n=%31 HTTP/1.1");
        Assert.Equal("/v2/a/b/manifests/%78?ns=a%2Fb&n=%31", seen["target"]);
    }

    [Theory]
    [InlineData("/v2/../admin/gc")]
    [InlineData("/v2/a/%2e%2e/%2E./%2e%2e/admin")]
    [InlineData("/v2/a/./tags/list")]
    [InlineData("/v2/..%2f..%2fadmin")]
    [InlineData("/v2/a/%2e%2e%2F%2e%2e%2Fadmin")]
    [InlineData("/v2/a/%252e%252e%252fadmin")]
    [InlineData("/v2/a/b%2f.%2fc")]
    [InlineData("/v2/a%5c..%5cadmin")]
    [InlineData("/v2/a%255cb")]
    [InlineData("/v2/a/%25252525252525252525252e%2e/b")]
    public async Task A_path_that_leads_out_is_not_passed_on(string path)
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        var (status, body) = await RawAsync(front, $"GET {path} HTTP/1.1");
        Assert.Equal(400, status);
        Assert.Contains("NAME_INVALID", body, StringComparison.Ordinal);
        Assert.Empty(registry.Requests);
    }

    [Fact]
    public async Task Errors_of_the_registry_behind_come_as_they_are()
    {
        await using var behind = await FrontServer.OpenAsync();
        await using var front = await FrontServer.StartAsync(behind.Url);
        foreach (
            var (method, path) in new[]
            {
                ("GET", "none/here/manifests/1.0"),
                ("GET", $"none/here/blobs/{Digest.EmptyJson}"),
                ("GET", "none/here/tags/list"),
                ("PUT", "none/here/manifests/1.0"),
                ("DELETE", "none/here/manifests/1.0"),
                ("GET", "none/here/nothing"),
            }
        )
        {
            var body = method == "PUT" ? "{}"u8.ToArray() : null;
            using var alone = await behind.Http.SendAsync(method, path, body, MediaTypes.OciManifest);
            using var through = await front.Http.SendAsync(method, path, body, MediaTypes.OciManifest);
            Assert.Equal(alone.StatusCode, through.StatusCode);
            Assert.Equal(
                await alone.Content.ReadAsStringAsync(Cancel),
                await through.Content.ReadAsStringAsync(Cancel)
            );
        }
    }

    [Fact]
    public async Task A_registry_behind_that_is_away_is_named_with_what_to_do()
    {
        await using var front = await FrontServer.StartAsync($"http://127.0.0.1:{FreePort()}");
        using var answer = await front.Http.SendAsync("GET", "a/tags/list");
        Assert.Equal("5", answer.Header("Retry-After"));
        var text = await answer.Content.ReadAsStringAsync(Cancel);
        Assert.Contains("the registry behind this one", text, StringComparison.Ordinal);
        await answer.ShouldFailAsync(503, "UNAVAILABLE");
        using var ready = await front.Http.GetAsync(new Uri("/readyz", UriKind.Relative), Cancel);
        Assert.Equal("not ready: registry behind not reachable\n", await ready.Content.ReadAsStringAsync(Cancel));
        using var live = await front.Http.GetAsync(new Uri("/healthz", UriKind.Relative), Cancel);
        Assert.Equal(HttpStatusCode.OK, live.StatusCode);
    }

    [Fact]
    public async Task A_registry_behind_that_drops_packets_is_away()
    {
        using var deaf = await DeafHost.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{deaf.Host}");
        using var answer = await front.Http.SendAsync("GET", "a/tags/list");
        Assert.Contains("cannot be reached", await answer.Content.ReadAsStringAsync(Cancel), StringComparison.Ordinal);
        await answer.ShouldFailAsync(503, "UNAVAILABLE");
    }

    [Fact]
    public async Task A_registry_behind_that_says_nothing_is_given_up_and_a_slow_one_is_not()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync(
            $"http://{registry.Host}",
            f => f with { IdleTime = TimeSpan.FromSeconds(2) }
        );
        registry.Intercept = async http =>
        {
            if (http.Request.Path == "/v2/silent/tags/list")
            {
                await Task.Delay(TimeSpan.FromSeconds(20), http.RequestAborted);
                return true;
            }

            // In all longer than it may be silent.
            for (var i = 0; i < 8; i++)
            {
                await http.Response.Body.WriteAsync("x"u8.ToArray(), http.RequestAborted);
                await http.Response.Body.FlushAsync(http.RequestAborted);
                await Task.Delay(400, http.RequestAborted);
            }

            return true;
        };
        using var silent = await front.Http.SendAsync("GET", "silent/tags/list");
        await silent.ShouldFailAsync(504, "UNAVAILABLE");
        Assert.Equal("xxxxxxxx", await front.Http.GetStringAsync("slow/tags/list", Cancel));
    }

    [Fact]
    public async Task Two_fronts_that_stand_in_front_of_each_other_say_so()
    {
        var (one, two) = (FreePort(), FreePort());
        await using var first = await FrontServer.StartAsync(
            $"http://127.0.0.1:{two}",
            options: o => o with { Urls = $"http://127.0.0.1:{one}" }
        );
        await using var second = await FrontServer.StartAsync(
            $"http://127.0.0.1:{one}",
            options: o => o with { Urls = $"http://127.0.0.1:{two}" }
        );
        using var answer = await first.Http.SendAsync("GET", "a/tags/list");
        await answer.ShouldFailAsync(508, "UNSUPPORTED");
    }

    [Fact]
    public async Task More_requests_than_the_limit_are_told_to_come_again()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync(
            $"http://{registry.Host}",
            f => f with { MaxRequests = 1 }
        );
        var reached = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        registry.Intercept = async http =>
        {
            reached.TrySetResult();
            await release.Task;
            return true;
        };
        var held = front.Http.SendAsync("GET", "a/tags/list");
        await reached.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        using (var refused = await front.Http.SendAsync("GET", "a/tags/list"))
        {
            await refused.ShouldFailAsync(429, "TOOMANYREQUESTS");
        }

        release.SetResult();
        (await held).Dispose();
        using var again = await front.Http.SendAsync("GET", "a/tags/list");
        Assert.Equal(HttpStatusCode.OK, again.StatusCode);
    }

    [Fact]
    public async Task Discovery_has_what_the_registry_behind_has_and_builds()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        registry.Intercept = async http =>
        {
            if (!http.Request.Path.Value!.EndsWith("_oci/ext/discover", StringComparison.Ordinal))
            {
                return false;
            }

            await http.Response.WriteAsync(
                """{"name":"x","extensions":[{"name":"_zot","url":"u","description":"d","endpoints":["_zot/ext/search"]}]}""",
                Cancel
            );
            return true;
        };
        var both = await front.Http.GetJsonAsync("_oci/ext/discover");
        Assert.Equal(["_zot", "_oci", "_build"], both["extensions"]!.AsArray().Select(e => e!["name"]!.ToString()));
        registry.Intercept = http =>
        {
            http.Response.StatusCode = http.Request.Path == "/v2/" ? 200 : 404;
            return Task.FromResult(true);
        };
        var alone = await front.Http.GetJsonAsync("a/b/_oci/ext/discover");
        Assert.Equal(["_oci", "_build"], alone["extensions"]!.AsArray().Select(e => e!["name"]!.ToString()));
        var info = await front.Http.GetJsonAsync("_build/v1/info");
        Assert.Equal(registry.Host, info["behind"]!.ToString());
    }

    private static async Task<(int Status, string Body)> RawAsync(BuildServer front, string line)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, new Uri($"http://{front.Host}").Port, Cancel);
        await using var stream = client.GetStream();
        await stream.WriteAsync(
            System.Text.Encoding.ASCII.GetBytes($"{line}\r\nHost: {front.Host}\r\nConnection: close\r\n\r\n"),
            Cancel
        );
        using var reader = new StreamReader(stream);
        var text = await reader.ReadToEndAsync(Cancel);
        return (int.Parse(text.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture), text);
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
