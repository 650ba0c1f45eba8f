using System.Net;
using System.Net.Sockets;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Tests.Builds;
using Kiln.Tests.Client;
using Kiln.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Front;

/// <summary>What a client hears of a push that the registry behind refuses at once, or takes, whatever comes after.</summary>
public sealed class FrontPushTests
{
    private static readonly Digest Subject = Digest.Of("subject"u8);
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_is_refused_before_its_body_was_read_is_refused_with_the_registrys_own_words(bool announced)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var answering = AnswerAsync(listener);
        await using var front = await FrontServer.StartAsync($"http://{listener.LocalEndpoint}");
        using var request = new HttpRequestMessage(HttpMethod.Patch, "a/b/blobs/uploads/1")
        {
            Content = new ByteArrayContent(new byte[8 << 20]),
        };
        request.Headers.TransferEncodingChunked = !announced;
        using var answer = await front.Http.SendAsync(request, Cancel);
        Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        Assert.Equal("Basic realm=x", answer.Header("WWW-Authenticate"));
        listener.Stop();
        await answering;
    }

    [Fact]
    public async Task A_manifest_that_was_taken_is_not_answered_as_a_fault_where_its_referrers_cannot_be_kept()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        registry.Intercept = async http =>
        {
            if (!IsReferrersTag(http))
            {
                return false;
            }

            // It breaks off.
            http.Response.ContentLength = 1000;
            await http.Response.WriteAsync("{", Cancel);
            await http.Response.Body.FlushAsync(Cancel);
            http.Abort();
            return true;
        };
        using (var pushed = await PushReferrerAsync(front))
        {
            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
            Assert.Contains("not listed among the referrers", pushed.Header("Warning"));
        }

        using var listed = await front.Http.SendAsync("GET", $"{BuildServer.Repository}/referrers/{Subject}");
        await listed.ShouldFailAsync(502, "UNAVAILABLE");
    }

    [Fact]
    public async Task A_manifest_that_was_taken_is_answered_so_where_what_follows_takes_long()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync(
            $"http://{registry.Host}",
            f => f with { IdleTime = TimeSpan.FromSeconds(2) }
        );
        registry.Intercept = async http =>
        {
            // Each alone is no silence.
            await Task.Delay(IsReferrersTag(http) ? 1300 : 0, http.RequestAborted);
            if (http.Request.Path.Value!.EndsWith("/manifests/1.0", StringComparison.Ordinal))
            {
                http.Response.StatusCode = 201;
                await http.Response.WriteAsync("taken", http.RequestAborted);
                return true;
            }

            return false;
        };
        using var pushed = await PushReferrerAsync(front);
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        Assert.Equal("taken", await pushed.Content.ReadAsStringAsync(Cancel));
    }

    [Fact]
    public async Task A_recipe_that_was_taken_is_not_answered_as_a_fault_where_its_build_cannot_be_noted()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        await front.BreakAsync("jobs");
        using var pushed = await FrontServer.PushRecipeAsync(front.Http, BuildServer.Repository, "1.0.recipe");
        await front.MendAsync("jobs");
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        Assert.Contains("no build was started", pushed.Header("Warning"));
    }

    private static bool IsReferrersTag(HttpContext http) =>
        http.Request.Path.Value!.EndsWith($"/manifests/sha256-{Subject.Encoded}", StringComparison.Ordinal);

    private static async Task<HttpResponseMessage> PushReferrerAsync(BuildServer front)
    {
        var manifest = Encoding.UTF8.GetBytes(
            $$"""
            {"schemaVersion":2,"mediaType":"{{MediaTypes.OciManifest}}","artifactType":"x/y",
            "config":{"mediaType":"{{MediaTypes.OciEmpty}}","digest":"{{Digest.EmptyJson}}","size":2},"layers":[],
            "subject":{"mediaType":"{{MediaTypes.OciManifest}}","digest":"{{Subject}}","size":7} }
            """
        );
        return await front.Http.PutManifestAsync(BuildServer.Repository, "1.0", manifest);
    }

    // As registries do that look at the headers first: they say no, and read nothing more.
    private static async Task AnswerAsync(TcpListener listener)
    {
        try
        {
            while (true)
            {
                using var client = await listener.AcceptTcpClientAsync(Cancel);
                using var reader = new StreamReader(client.GetStream(), leaveOpen: true);
                while (await reader.ReadLineAsync(Cancel) is { Length: > 0 }) { }

                await client
                    .GetStream()
                    .WriteAsync(
                        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"u8.ToArray(),
                        Cancel
                    );
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The test is over.
        }
    }
}
