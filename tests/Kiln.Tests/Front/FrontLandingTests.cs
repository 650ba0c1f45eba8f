using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Tests.Builds;
using Kiln.Tests.Client;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Front;

/// <summary>How images get to a registry behind that is slow, away for a while, or calls itself otherwise.</summary>
public sealed class FrontLandingTests
{
    private static readonly byte[] Before = Encoding.UTF8.GetBytes(
        $$"""{"schemaVersion":2,"mediaType":"{{MediaTypes.OciManifest}}","config":{"mediaType":"x/y","digest":"{{Digest.EmptyJson}}","size":2},"layers":[]}"""
    );
    private static string Tagged => $"/v2/{BuildServer.Repository}/manifests/1.0";

    [Fact]
    public async Task After_an_outage_an_older_image_does_not_take_the_tag_from_a_newer_one()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        registry.AddManifest("1.0", MediaTypes.OciManifest, Before);
        var older = await front.SubmitAsync("?tag=1.0&cache=none");
        var first = await front.Node.ClaimAsync();
        var newer = await front.SubmitAsync("?tag=1.0&cache=none");
        var second = await front.Node.ClaimAsync();
        registry.Intercept = http => Task.FromResult(IsAway(http));
        await front.Node.SucceedAsync(first, "older");
        await FrontServer.UntilAsync(front, older.Id, j => j.Message?.Contains("next try is in 2 s") is true);
        registry.Intercept = _ => Task.FromResult(false);
        await front.Node.SucceedAsync(second, "newer");
        foreach (var id in new[] { older.Id, newer.Id })
        {
            Assert.Equal(BuildStates.Succeeded, (await FrontServer.UntilAsync(front, id, j => j.Done)).State);
        }

        Assert.Equal(
            (await front.GetAsync(newer.Id)).Result!.Manifest.Digest,
            Digest.Of(registry.Manifests["1.0"].Bytes)
        );
    }

    [Fact]
    public async Task Of_two_images_that_may_only_make_a_tag_one_gets_it()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        const string Query = "?tag=1.0&cache=none&tagpolicy=create-only";
        var jobs = new[] { await front.SubmitAsync(Query), await front.SubmitAsync(Query) };
        var leases = new[] { await front.Node.ClaimAsync(), await front.Node.ClaimAsync() };
        registry.Intercept = async http =>
        {
            // Time in which another server, or the other half of this one, looks as well.
            await Task.Delay(http.Request.Path == Tagged ? 500 : 0, http.RequestAborted);
            return false;
        };
        await front.Node.SucceedAsync(leases[0], "one");
        await front.Node.SucceedAsync(leases[1], "two");
        var ends = new List<string>();
        foreach (var job in jobs)
        {
            ends.Add((await FrontServer.UntilAsync(front, job.Id, j => j.Done)).State);
        }

        Assert.Equal([BuildStates.Failed, BuildStates.Succeeded], ends.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task An_upload_goes_on_at_the_registrys_address_by_whatever_name_it_calls_itself()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        registry.Intercept = http =>
        {
            var begins = http.Request.Path.Value!.EndsWith("/blobs/uploads/", StringComparison.Ordinal);
            if (begins)
            {
                http.Response.StatusCode = 202;
                http.Response.Headers.Location = $"https://registry.invalid{http.Request.Path}session?state=x";
            }

            return Task.FromResult(begins);
        };
        var id = (await front.SubmitAsync("?tag=1.0")).Id;
        await front.Node.SucceedAsync(await front.Node.ClaimAsync());
        var job = await FrontServer.UntilAsync(front, id, j => j.Done || j.Message is not null);
        Assert.Null(job.Message);
        Assert.Equal(BuildStates.Succeeded, job.State);
    }

    [Fact]
    public async Task A_registry_behind_may_say_nothing_for_as_long_as_the_operator_says()
    {
        await using var registry = await TestRegistry.StartAsync();
        await using var front = await FrontServer.StartAsync(
            $"http://{registry.Host}",
            f => f with { IdleTime = TimeSpan.FromSeconds(1) }
        );
        var id = (await front.SubmitAsync("?tag=1.0")).Id;
        var lease = await front.Node.ClaimAsync();
        registry.Intercept = async http =>
        {
            // What a registry does that still moves a large layer to its store.
            await Task.Delay(
                HttpMethods.IsPut(http.Request.Method) || HttpMethods.IsPost(http.Request.Method) ? 20_000 : 0,
                http.RequestAborted
            );
            return false;
        };
        await front.Node.SucceedAsync(lease);
        var job = await FrontServer
            .UntilAsync(front, id, j => j.Message is not null)
            .WaitAsync(TimeSpan.FromSeconds(8));
        Assert.Contains("did not answer within 1 s", job.Message, StringComparison.Ordinal);
    }

    private static bool IsAway(HttpContext http)
    {
        // Who may read the job can be asked all the same.
        http.Response.StatusCode = http.Request.Path.Value!.EndsWith("/tags/list", StringComparison.Ordinal)
            ? 200
            : 503;
        return true;
    }
}
