using System.Net;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Http;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>Pulls of tags that are not there yet: held while they are being built, and told what became of them.</summary>
public sealed class WaitingPullTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("GET")]
    [InlineData("HEAD")]
    public async Task A_pull_of_a_tag_that_is_being_built_is_held_and_gets_it(string method)
    {
        await using var server = await BuildServer.StartAsync(b => b with { PullHoldSeconds = 50 });
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var pull = server.Http.SendAsync(method, $"{BuildServer.Repository}/manifests/1.0");
        await UntilHeldAsync(server);
        Assert.False(pull.IsCompleted);
        await server.Node.SucceedAsync(lease);

        using var response = await pull;
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.NotNull(response.Header("Docker-Content-Digest"));
    }

    [Fact]
    public async Task When_the_time_is_over_the_client_is_told_to_come_again()
    {
        await using var server = await BuildServer.StartAsync(b => b with { PullHoldSeconds = 1 });
        var job = await server.SubmitAsync("?tag=1.0");
        using var response = await server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/1.0");

        Assert.Equal("10", response.Header("Retry-After"));
        Assert.Contains($"{job.Href}/logs?follow=1", response.Header("Warning"));
        await response.ShouldFailAsync(429, "TOOMANYREQUESTS");
        Assert.Equal(HttpStatusCode.TooManyRequests, await StatusAsync(server, "HEAD", "1.0"));
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(server, "GET", "2.0"));
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(server, "GET", Digest.EmptyJson.ToString()));
    }

    [Fact]
    public async Task A_pull_of_what_failed_says_so_at_once_and_one_of_what_is_there_never_waits()
    {
        await using var server = await BuildServer.StartAsync(b => b with { PullHoldSeconds = 50 });
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var held = server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/1.0");
        await server.Node.FailAsync(lease);
        foreach (
            var response in new[]
            {
                await held,
                await server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/1.0"),
            }
        )
        {
            using (response)
            {
                Assert.Contains(job.Href, await response.Content.ReadAsStringAsync(Cancel));
                Assert.Contains("failed", response.Header("Warning"));
                await response.ShouldFailAsync(404, "MANIFEST_UNKNOWN");
            }
        }

        await server.SubmitAsync("?tag=2.0&arg.A=1");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        await server.SubmitAsync("?tag=2.0&arg.A=2");
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(server, "GET", "2.0"));
    }

    [Fact]
    public async Task More_pulls_than_may_be_held_are_told_at_once()
    {
        TestState.RequireOneServer("each has a bound of its own");
        await using var server = await BuildServer.StartAsync(b => b with { PullHoldSeconds = 50, MaxHeldPulls = 1 });
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var held = server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/1.0");
        await UntilHeldAsync(server);
        Assert.Equal(HttpStatusCode.TooManyRequests, await StatusAsync(server, "GET", "1.0"));
        await server.Node.SucceedAsync(lease);
        Assert.Equal(HttpStatusCode.OK, (await held).StatusCode);
    }

    [Theory]
    [InlineData("1.0.recipe", null)]
    [InlineData("any", "0.9,1.0")]
    public async Task A_recipe_that_declares_the_tag_is_built_when_it_is_pulled(string tag, string? declared)
    {
        await using var server = await BuildServer.StartAsync(Waiting);
        using var pushed = await server.PushRecipeAsync(tag, Unbuilt(declared), await server.RecipeLayerAsync());
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        Assert.Null(await server.Node.TryClaimAsync());
        var pull = server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/1.0");
        var lease = await server.Node.TryClaimAsync(wait: TimeSpan.FromMinutes(2));
        var second = server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/1.0");
        await server.Node.FailAsync(lease!);

        Assert.Equal(HttpStatusCode.NotFound, (await pull).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await second).StatusCode);
        // What has failed is not tried again with every pull.
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(server, "GET", "1.0"));
        Assert.Null(await server.Node.TryClaimAsync());
    }

    [Fact]
    public async Task A_recipe_that_says_what_it_delivers_is_not_built_for_another_tag()
    {
        await using var server = await BuildServer.StartAsync(Waiting);
        var layer = await server.RecipeLayerAsync();
        using var other = await server.PushRecipeAsync("1.0.recipe", Unbuilt("2.0"), layer);
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(server, "GET", "1.0"));
        Assert.Empty(await server.JobsAsync());

        // Another recipe delivers that one.
        using var meant = await server.PushRecipeAsync("any", Unbuilt("1.0, 1"), layer);
        var pull = server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/1.0");
        await server.Node.SucceedAsync((await server.Node.TryClaimAsync(wait: TimeSpan.FromMinutes(2)))!);
        Assert.Equal(HttpStatusCode.OK, (await pull).StatusCode);
        Assert.Equal(["1.0", "1"], (await server.JobsAsync()).Single().Tags);
    }

    [Fact]
    public async Task A_storm_of_pulls_is_broken_and_many_who_pull_one_tag_start_one_job()
    {
        await using var server = await BuildServer.StartAsync(b =>
            Waiting(b) with
            {
                PullHoldSeconds = 0,
                MaxTriggersPerMinute = 2,
            }
        );
        foreach (var tag in new[] { "1", "2", "3" })
        {
            var layer = await server.RecipeLayerAsync($"FROM scratch\nLABEL n={tag}\n");
            using var pushed = await server.PushRecipeAsync($"{tag}.recipe", Unbuilt(null), layer);
        }

        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => StatusAsync(server, "GET", "1")));
        Assert.Single(await server.JobsAsync());
        Assert.Equal(HttpStatusCode.TooManyRequests, await StatusAsync(server, "GET", "2"));
        using var third = await server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/3");
        Assert.Contains("within a minute", await third.Content.ReadAsStringAsync(Cancel));
        await third.ShouldFailAsync(429, "TOOMANYREQUESTS");
        Assert.Equal(2, (await server.JobsAsync()).Count);
    }

    [Fact]
    public async Task A_server_that_ends_waits_for_no_pull()
    {
        TestState.RequireOneServer("the proxy ends before the servers do");
        await using var server = await BuildServer.StartAsync(b => b with { PullHoldSeconds = 50 });
        await server.SubmitAsync("?tag=1.0");
        using var client = new HttpClient();
        client.BaseAddress = server.Http.BaseAddress;
        var held = client.StatusAsync("GET", $"{BuildServer.Repository}/manifests/1.0");
        await UntilHeldAsync(server);
        await server.RestartAsync();
        // It would be cut off when the server's patience is over, before the hold is.
        Assert.Equal(HttpStatusCode.TooManyRequests, await held);
    }

    [Fact]
    public async Task A_clock_that_stands_holds_nobody_for_ever()
    {
        await using var server = await BuildServer.StartAsync(
            b => b with { PullHoldSeconds = 1 },
            clock: new StandingClock()
        );
        await server.SubmitAsync("?tag=1.0");
        Assert.Equal(HttpStatusCode.TooManyRequests, await StatusAsync(server, "GET", "1.0"));
    }

    [Fact]
    public async Task A_registry_may_say_at_once_that_it_is_not_there()
    {
        await using var server = await BuildServer.StartAsync(b => b with { PullBuild = PullBuilds.Off });
        await server.SubmitAsync("?tag=1.0");
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(server, "GET", "1.0"));
    }

    private static BuildOptions Waiting(BuildOptions options) =>
        options with
        {
            PullHoldSeconds = 50,
            PullBuild = PullBuilds.Recipes,
        };

    // Of a recipe whose push starts nothing.
    private static Dictionary<string, string> Unbuilt(string? declared)
    {
        var annotations = new Dictionary<string, string> { [RecipeAnnotations.Trigger] = "none" };
        if (declared is not null)
        {
            annotations[RecipeAnnotations.Tags] = declared;
        }

        return annotations;
    }

    private static async Task UntilHeldAsync(BuildServer server)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (server.AllServices.Sum(services => services.GetRequiredService<WaitingPulls>().Held) == 0)
        {
            await Task.Delay(20, limit.Token);
        }
    }

    private static Task<HttpStatusCode> StatusAsync(BuildServer server, string method, string reference) =>
        server.Http.StatusAsync(method, $"{BuildServer.Repository}/manifests/{reference}");

    /// <summary>A clock of the day that stands, as that of a machine that was suspended; timers go on.</summary>
    private sealed class StandingClock : TimeProvider
    {
        private readonly DateTimeOffset _now = System.GetUtcNow();

        public override DateTimeOffset GetUtcNow() => _now;
    }
}
