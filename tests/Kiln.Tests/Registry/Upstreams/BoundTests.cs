using Kiln.Oci;
using Kiln.Server.Registry.Upstreams;
using Kiln.Tests.Client;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Registry.Upstreams;

/// <summary>How often an upstream is asked, for how long, and for how much at a time.</summary>
public sealed class BoundTests
{
    [Fact]
    public async Task What_failed_is_not_tried_again_for_everybody_who_wants_it()
    {
        await using var upstream = await TestRegistry.StartAsync();
        var good = Samples.Bytes(1000);
        upstream.Blobs[Digest.Of(good).ToString()] = Samples.Bytes(1000);
        upstream.Manifests["page"] = ("text/html", "<html>"u8.ToArray());
        await using var server = await ThroughServer.StartAsync($"http://{upstream.Host}");
        foreach (var path in new[] { $"hub/app/blobs/{Digest.Of(good)}", "hub/app/manifests/page" })
        {
            upstream.Requests.Clear();
            for (var i = 0; i < 5; i++)
            {
                using var client = new HttpClient();
                client.BaseAddress = server.Http.BaseAddress;
                await Record.ExceptionAsync(() => client.GetByteArrayAsync(path));
            }

            Assert.Single(upstream.Requests);
        }

        upstream.Blobs[Digest.Of(good).ToString()] = good;
        server.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(good, await server.Http.GetByteArrayAsync($"hub/app/blobs/{Digest.Of(good)}"));
    }

    [Theory]
    [InlineData("manifests/1")]
    [InlineData("tags/list")]
    public async Task An_answer_that_trickles_in_for_ever_is_given_up(string path)
    {
        await using var upstream = await TestRegistry.StartAsync();
        upstream.Intercept = async http =>
        {
            http.Response.ContentType = MediaTypes.OciManifest;
            while (!http.RequestAborted.IsCancellationRequested)
            {
                await http.Response.Body.WriteAsync(" "u8.ToArray());
                await http.Response.Body.FlushAsync();
                await Task.Delay(100);
            }

            return true;
        };
        await using var server = await ThroughServer.StartAsync(
            $"http://{upstream.Host}",
            o => o with { AnswerTime = TimeSpan.FromSeconds(1) }
        );
        using var answer = await server.Http.GetAsync($"hub/app/{path}");
        await answer.ShouldFailAsync(503, "UNAVAILABLE");
    }

    [Fact]
    public async Task More_blobs_than_may_be_on_their_way_have_to_wait_for_their_turn()
    {
        await using var upstream = await TestRegistry.StartAsync();
        var open = new TaskCompletionSource();
        var blobs = Enumerable.Range(0, 4).Select(_ => upstream.AddBlob(Samples.Bytes(1000))).ToList();
        upstream.Intercept = async http =>
        {
            await open.Task;
            return false;
        };
        await using var server = await ThroughServer.StartAsync(
            $"http://{upstream.Host}",
            o => o with { MaxFetches = 1 },
            o => o with { MaxUpstreamFetches = 3 }
        );
        var under = blobs.Take(3).Select(b => server.Http.GetByteArrayAsync($"hub/app/blobs/{b.Digest}")).ToList();
        var cached = server.Server.Services.GetRequiredService<CachedBlobs>();
        using (var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2)))
        {
            while (cached.Fetches < 3)
            {
                await Task.Delay(20, limit.Token);
            }
        }

        // Who wants one of them joins.
        under.Add(server.Http.GetByteArrayAsync($"hub/app/blobs/{blobs[0].Digest}"));
        using (var busy = await server.Http.GetAsync($"hub/app/blobs/{blobs[3].Digest}"))
        {
            Assert.Equal("10", busy.Header("Retry-After"));
            await busy.ShouldFailAsync(429, "TOOMANYREQUESTS");
        }

        open.SetResult();
        await Task.WhenAll(under);
        Assert.Equal(1000, (await server.Http.GetByteArrayAsync($"hub/app/blobs/{blobs[3].Digest}")).Length);
    }
}
