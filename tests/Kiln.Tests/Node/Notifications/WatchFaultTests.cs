using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Node.Notifications;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;

namespace Kiln.Tests.Node.Notifications;

/// <summary>Registries that are away, nodes that die, pushes that come all at once.</summary>
public sealed class WatchFaultTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_registry_that_is_away_is_asked_again_and_gets_its_image_in_the_end()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(56));
        await using var server = await WatchedRegistryServer.StartAsync(time: time);
        void Pass() => time.Advance(TimeSpan.FromSeconds(2));
        var away = true;
        server.Registry.Intercept = http => AnswerAsync(http, 503, Volatile.Read(ref away));
        await server.TellAsync("1.0.recipe", server.PushRecipe());
        for (var i = 0; i < 200 && (await server.StatusAsync())["waiting"]![0]!["tries"]!.GetValue<int>() == 0; i++)
        {
            Pass();
            await Task.Delay(10, Cancel);
        }

        Volatile.Write(ref away, false);
        await UntilAsync(async () => (await server.StatusAsync())["builds"]!.AsArray().Count == 1, Pass);
        var lease = await server.ClaimAsync();
        await server.Node.SucceedAsync(lease);
        Volatile.Write(ref away, true);
        await Task.Delay(50, Cancel);
        Pass();
        Volatile.Write(ref away, false);
        var build = Assert.Single(await server.SettledAsync(Pass))!;

        Assert.Equal(BuildStates.Succeeded, build["state"]!.GetValue<string>());
        Assert.True(server.Registry.Manifests.ContainsKey("1.0"));
    }

    [Fact]
    public async Task Of_two_pushes_that_are_told_in_the_wrong_order_the_later_one_is_built()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(56));
        await using var server = await WatchedRegistryServer.StartAsync(time: time);
        var first = server.PushRecipe(text: "FROM scratch\nLABEL v=1\n");
        var second = server.PushRecipe(text: "FROM scratch\nLABEL v=2\n");
        server.Registry.Manifests.Remove(first.ToString(), out _);
        await server.TellAsync("1.0.recipe", first);

        await UntilAsync(
            async () => (await server.StatusAsync())["builds"]!.AsArray().Count == 1,
            () => time.Advance(TimeSpan.FromSeconds(5))
        );

        Assert.Equal(second.ToString(), (await server.StatusAsync())["builds"]![0]!["recipe"]!.GetValue<string>());
    }

    [Fact]
    public async Task A_registry_that_tells_before_it_has_moved_the_tag_is_asked_again()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(56));
        await using var server = await WatchedRegistryServer.StartAsync(time: time);
        void Pass() => time.Advance(TimeSpan.FromSeconds(1));
        server.PushRecipe(text: "FROM scratch\nLABEL old=1\n");
        var old = server.Registry.Manifests["1.0.recipe"];
        var digest = server.PushRecipe(text: "FROM scratch\nLABEL new=1\n");
        server.Registry.Manifests["1.0.recipe"] = old;
        await server.TellAsync("1.0.recipe", digest);
        await UntilAsync(
            async () => (await server.StatusAsync())["waiting"]![0]!["tries"]!.GetValue<int>() > 0,
            () => { }
        );

        server.Registry.Manifests["1.0.recipe"] = server.Registry.Manifests[digest.ToString()];
        await UntilAsync(async () => (await server.StatusAsync())["builds"]!.AsArray().Count == 1, Pass);

        Assert.Equal(digest.ToString(), (await server.StatusAsync())["builds"]![0]!["recipe"]!.GetValue<string>());
    }

    [Fact]
    public async Task More_pushes_than_an_hour_may_have_wait_for_the_next_one()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(56));
        await using var server = await WatchedRegistryServer.StartAsync(r => r with { BuildsPerHour = 2 }, time: time);
        for (var i = 1; i <= 3; i++)
        {
            await server.TellAsync(
                $"{i}.recipe",
                server.PushRecipe($"{i}.recipe", $"FROM scratch\nLABEL n={i}\n"),
                $"e{i}"
            );
            time.Advance(TimeSpan.FromMilliseconds(10));
        }

        await server.Node.SucceedAsync(await server.ClaimAsync());
        await server.Node.SucceedAsync(await server.ClaimAsync());
        await UntilAsync(
            async () => (await server.StatusAsync())["builds"]!.AsArray().Count(b => b!["finished"] is not null) == 2,
            () => { }
        );
        Assert.Null(await server.Node.TryClaimAsync());
        Assert.Single((await server.StatusAsync())["waiting"]!.AsArray());

        for (var i = 0; i < 61; i++)
        {
            time.Advance(TimeSpan.FromMinutes(1));
            await Task.Delay(5, Cancel);
        }

        await UntilAsync(
            async () => (await server.StatusAsync())["builds"]!.AsArray().Count == 3,
            () => time.Advance(TimeSpan.FromSeconds(1))
        );
    }

    [Fact]
    public async Task A_node_that_died_goes_on_with_what_it_was_told_and_builds_again()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync("1.0.recipe", server.PushRecipe());
        var lost = await server.ClaimAsync();
        await server.Node.PushImageAsync(lost, "half", Platform.LinuxAmd64);
        await server.RestartAsync();

        var lease = await server.ClaimAsync();
        Assert.Equal((lost.Execution, 2), (lease.Execution, lease.Attempt));
        await server.Node.SucceedAsync(lease, "whole");
        var build = Assert.Single(await server.SettledAsync())!;
        Assert.Equal(BuildStates.Succeeded, build["state"]!.GetValue<string>());
        var index = ManifestReader.Read(server.Registry.Manifests["1.0"].Bytes, null, out _)!;
        Assert.Equal(build["tasks"]![0]!["manifest"]!.GetValue<string>(), index.Manifests.Single().Digest.ToString());
    }

    [Fact]
    public async Task What_was_told_to_a_node_that_died_before_it_looked_is_looked_at()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        server.Registry.Intercept = http =>
        {
            http.Response.StatusCode = 503;
            return Task.FromResult(true);
        };
        await server.TellAsync("1.0.recipe", server.PushRecipe());
        await server.RestartAsync();
        server.Registry.Intercept = _ => Task.FromResult(false);

        await server.Node.SucceedAsync(await server.ClaimAsync());
        Assert.Single(await server.SettledAsync());
    }

    [Fact]
    public async Task Giving_back_uses_up_no_attempt_and_a_lease_that_is_over_says_nothing_more()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync("1.0.recipe", server.PushRecipe());
        var given = await server.ClaimAsync();
        await server.GiveBackAsync(given);
        await Assert.ThrowsAsync<Kiln.Node.LeaseLostException>(() => server.Node.LogAsync(given, "late"));

        var lease = await server.ClaimAsync();
        Assert.Equal(1, lease.Attempt);
        await server.Node.FailAsync(lease, FailureReasons.SystemError, retryable: true);
        Assert.Null(await server.Node.TryClaimAsync());
        Assert.Equal(2, (await server.ClaimAsync()).Attempt);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_build_whose_other_target_failed_ends_though_one_was_given_back_or_lost(bool restart)
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync(
            "1.0.recipe",
            server.PushRecipe(annotations: new() { [RecipeAnnotations.Platforms] = "linux/amd64,linux/arm64" })
        );
        var (first, second) = (await server.ClaimAsync(), await server.ClaimAsync());
        await server.Node.FailAsync(first);
        if (restart)
        {
            await server.RestartAsync();
        }
        else
        {
            await server.GiveBackAsync(second);
        }

        var build = Assert.Single(await server.SettledAsync())!;
        Assert.Equal(BuildStates.Failed, build["state"]!.GetValue<string>());
        Assert.Null(await server.Node.TryClaimAsync());
    }

    [Fact]
    public async Task A_build_that_the_node_could_not_begin_is_no_longer_under_way()
    {
        await using var server = await WatchedRegistryServer.StartAsync(options: o => o with { MaxAttempts = 1 });
        await server.TellAsync("1.0.recipe", server.PushRecipe());

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        using var node = server.NodeOf(new BrokenLauncher());
        var running = node.RunAsync(server.Coordinator, stop.Token);
        var build = Assert.Single(await server.SettledAsync())!;
        await stop.CancelAsync();
        await running;

        Assert.Equal(FailureReasons.SystemError, build["reason"]!.GetValue<string>());
        Assert.Contains("no space left", build["message"]!.GetValue<string>(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_older_recipe_that_took_longer_does_not_take_the_tag_from_a_newer_one()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        await server.TellAsync("1.0.recipe", server.PushRecipe(text: "FROM scratch\nLABEL v=1\n"), "old");
        var old = await server.ClaimAsync();
        await server.TellAsync("1.0.recipe", server.PushRecipe(text: "FROM scratch\nLABEL v=2\n"), "new");
        await server.Node.SucceedAsync(await server.ClaimAsync(), "new");
        await UntilAsync(async () => (await server.StatusAsync())["builds"]![0]!["finished"] is not null, () => { });
        var tagged = server.Registry.Manifests["1.0"].Bytes;

        await server.Node.SucceedAsync(old, "old");
        var builds = await server.SettledAsync();

        Assert.All(builds, b => Assert.Equal(BuildStates.Succeeded, b!["state"]!.GetValue<string>()));
        Assert.Equal(tagged, server.Registry.Manifests["1.0"].Bytes);
    }

    [Fact]
    public async Task A_tag_that_the_registry_refuses_fails_the_build_and_is_told()
    {
        await using var server = await WatchedRegistryServer.StartAsync();
        var digest = server.PushRecipe();
        server.Registry.Intercept = http =>
            AnswerAsync(
                http,
                409,
                http.Request.Method == "PUT"
                    && http.Request.Path.Value!.EndsWith("/manifests/1.0", StringComparison.Ordinal)
            );
        await server.TellAsync("1.0.recipe", digest);
        await server.Node.SucceedAsync(await server.ClaimAsync());
        var build = Assert.Single(await server.SettledAsync())!;

        Assert.Equal(FailureReasons.PolicyDenied, build["reason"]!.GetValue<string>());
        Assert.Equal(
            "policy-denied",
            server.ReferrersOf(digest).Single().Annotations!["org.supercontainers.build.reason"]
        );
    }

    private sealed class BrokenLauncher : ILauncher
    {
        public Task<NodeAbilities> PrepareAsync(CancellationToken cancel) => throw new NotSupportedException();

        public Task RunAsync(Lease lease, IBuildCoordinator coordinator, CancellationToken stop) =>
            Task.FromException(new IOException("no space left on device"));

        public void Dispose() { }
    }

    private static Task<bool> AnswerAsync(HttpContext http, int status, bool refuse)
    {
        if (refuse)
        {
            http.Response.StatusCode = status;
        }

        return Task.FromResult(refuse);
    }

    private static async Task UntilAsync(Func<Task<bool>> so, Action meanwhile)
    {
        for (var i = 0; !await so(); i++)
        {
            Assert.True(i < 3000, "it does not come about");
            meanwhile();
            await Task.Delay(10, Cancel);
        }
    }
}
