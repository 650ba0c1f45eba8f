using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>Images are built anew when the tag of a base moves, where the operator wants it.</summary>
public sealed class BaseMoveTests
{
    private static readonly BaseMoveServer.Base Os = new("base/os", "1");

    [Fact]
    public async Task A_product_is_built_anew_by_the_same_request_once_for_each_move_of_its_base()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        var recipe = BaseMoveServer.Recipe(Os);
        var asked = await server.BuildAsync("?tag=1.0,latest&arg.X=1&label.a=b&timeout=77", recipe, (Os, first));

        var second = await server.PushBaseAsync(Os);
        var again = await server.StartedAsync(1);
        Assert.Equal((JobTriggers.Base, asked.CreatedBy), (again.Trigger, again.CreatedBy));
        Assert.Equal(asked.Recipe.Digest, again.Recipe.Digest);
        Assert.Equal(asked.Tags, again.Tags);
        var lease = await server.ClaimAsync();
        Assert.Equal(again.Tasks[0].Execution, lease.Execution);
        Assert.Equal(("1", "b", 77), (lease.Task.Args["X"], lease.Task.Labels["a"], lease.Task.TimeoutSeconds));
        // The node decides by the bases that it finds.
        Assert.Equal(first, Assert.Single(lease.Task.Earlier![0].ResolvedDependencies).Digest);
        await server.SucceedAsync(lease, (Os, second));
        var built = await server.Builds.GetAsync(again.Id);
        Assert.Equal(built.Result!.Manifest.Digest, await server.DigestAsync(BuildServer.Repository, "1.0"));

        // What fails is not tried again for the same move, but for the next one.
        await server.PushBaseAsync(Os);
        await server.StartedAsync(2);
        await server.Builds.Node.FailAsync(await server.ClaimAsync());
        await server.PushBaseAsync(Os);
        await server.StartedAsync(3);
    }

    [Theory]
    [InlineData("registry.example.org")]
    [InlineData("REGISTRY.example.org:443")]
    [InlineData("localhost:PORT")]
    [InlineData("127.0.0.1:PORT")]
    [InlineData("[::1]:PORT")]
    public async Task A_base_of_this_registry_is_known_by_all_of_its_names(string host)
    {
        Assert.SkipWhen(TestState.Servers > 1, "NOT RUN: two servers behind a proxy have other ports than it");
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        var name = host.Replace("PORT", server.Builds.Host.Split(':')[1], StringComparison.Ordinal);
        await server.BuildAsync("?tag=1.0", $"FROM {name}/base/os:1\n", $"docker://{name}/base/os:1", first);

        await server.PushBaseAsync(Os);
        await server.StartedAsync(1);
    }

    [Fact]
    public async Task What_is_pinned_was_delivered_by_others_or_stands_on_another_tag_stays()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        var recipe = BaseMoveServer.Recipe(Os);
        var name = $"{BaseMoveServer.Host}/base/os";
        await server.BuildAsync("?tag=pinned", $"FROM {name}@{first}\n", $"docker://{name}@{first}", first);
        await server.BuildAsync("?tag=both", $"FROM {name}:1@{first}\n", $"docker://{name}:1@{first}", first);
        await server.BuildAsync("?tag=other", $"FROM {name}:2\n", $"docker://{name}:2", first);
        await server.BuildAsync("?tag=elsewhere", "FROM base/os:1\n", "docker://base/os:1", first);
        await server.BuildAsync("?tag=pushed&arg.X=1", recipe, (Os, first));
        await server.BuildAsync("?arg.X=2", recipe, (Os, first));
        var secret = await server.Builds.SecretAsync("hush");
        await server.BuildAsync($"?tag=secret&secret.s={secret}", recipe, (Os, first));
        await server.PushBaseAsync(new BaseMoveServer.Base(BuildServer.Repository, "pushed"));
        // Older jobs are looked at before newer ones: when this one is built anew, all the others have been decided.
        await server.BuildAsync("?tag=last&arg.X=3", recipe, (Os, first));

        await server.PushBaseAsync(Os);
        Assert.Equal(["last"], (await server.StartedAsync(1)).Tags);
        Assert.Single(await server.RebuildsAsync());
    }

    [Fact]
    public async Task Of_several_tags_a_job_gets_those_that_no_later_one_has_moved()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0,latest&arg.V=1", BaseMoveServer.Recipe(Os), (Os, first));
        await server.BuildAsync("?tag=1.1,latest&arg.V=2", BaseMoveServer.Recipe(Os), (Os, first));

        await server.PushBaseAsync(Os);
        await server.StartedAsync(2);
        Assert.Equal(
            ["1.0", "1.1,latest"],
            (await server.RebuildsAsync()).Select(j => string.Join(',', j.Tags)).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public async Task A_base_that_is_an_index_has_moved_when_the_image_in_it_is_another()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var (image, child) = await server.PushImageAsync(Os.Repository);
        await server.PushIndexAsync(Os, image);
        await server.BuildAsync("?tag=1.0", BaseMoveServer.Recipe(Os), (Os, child));

        // The same image beside another one, and then another image alone.
        var (other, _) = await server.PushImageAsync(Os.Repository);
        await server.PushIndexAsync(Os, image, other);
        await server.LookedAtAsync();
        Assert.Empty(await server.RebuildsAsync("1.0"));
        await server.PushIndexAsync(Os, other);
        await server.StartedAsync(1, "1.0");
    }

    [Fact]
    public async Task A_base_that_moves_while_it_is_built_on_is_followed_afterwards()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        await server.Builds.SubmitAsync("?tag=1.0", BaseMoveServer.Recipe(Os));
        var lease = await server.ClaimAsync();
        await server.PushBaseAsync(Os);
        await server.SucceedAsync(lease, (Os, first));

        await server.StartedAsync(1);
    }

    [Fact]
    public async Task A_node_that_says_another_base_than_there_is_does_not_have_it_built_for_ever()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0", BaseMoveServer.Recipe(Os), (Os, first));

        await server.PushBaseAsync(Os);
        await server.StartedAsync(1);
        await server.SucceedAsync(await server.ClaimAsync(), (Os, first));
        await server.LookedAtAsync();
        Assert.Single(await server.RebuildsAsync());
        await server.PushBaseAsync(Os);
        await server.StartedAsync(2);
    }

    [Fact]
    public async Task What_runs_already_is_not_joined_since_it_may_have_the_old_base()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0", BaseMoveServer.Recipe(Os), (Os, first));
        var running = await server.Builds.SubmitAsync("?tag=2.0&cache=refresh", BaseMoveServer.Recipe(Os));
        await server.ClaimAsync();

        await server.PushBaseAsync(Os);
        var started = await server.StartedAsync(1);
        Assert.Equal(["1.0"], started.Tags);
        Assert.NotEqual(running.Tasks[0].Execution, started.Tasks[0].Execution);
    }

    [Fact]
    public async Task A_base_that_moves_again_while_a_product_follows_it_is_followed_after_that()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0", BaseMoveServer.Recipe(Os), (Os, first));
        var second = await server.PushBaseAsync(Os);
        await server.StartedAsync(1);
        var lease = await server.ClaimAsync();

        var third = await server.PushBaseAsync(Os);
        await server.SucceedAsync(lease, (Os, second));
        var last = await server.StartedAsync(2);
        await server.SucceedAsync(await server.ClaimAsync(), (Os, third));
        Assert.Equal(BuildStates.Succeeded, (await server.Builds.GetAsync(last.Id)).State);
        await server.LookedAtAsync();
        Assert.Equal(2, (await server.RebuildsAsync()).Count);
    }

    [Fact]
    public async Task Images_that_stand_on_each_other_are_each_built_once()
    {
        await using var server = await BaseMoveServer.StartAsync();
        var (one, two) = (
            new BaseMoveServer.Base(BuildServer.Repository, "one"),
            new BaseMoveServer.Base(BuildServer.Repository, "two")
        );
        var start = await server.PushBaseAsync(one);
        await server.BuildAsync("?tag=two", BaseMoveServer.Recipe(one), (one, start));
        var image = (await server.Builds.TagAsync("two"))!.Manifests[0].Digest;
        await server.BuildAsync("?tag=one", BaseMoveServer.Recipe(two), (two, image));

        // The second is the base of the first, and its tag has moved by now: each follows once, and then it ends.
        for (var round = 1; await server.NextAsync(round) is { } lease; round++)
        {
            Assert.True(round <= 2, "they follow each other for ever");
            var tag = (await server.RebuildsAsync())[0].Tags.Single();
            var (on, name) = tag == "one" ? (two, "two") : (one, "one");
            await server.SucceedAsync(lease, (on, (await server.Builds.TagAsync(name))!.Manifests[0].Digest));
        }

        Assert.NotEmpty(await server.RebuildsAsync());
    }

    [Fact]
    public async Task What_is_too_much_for_an_hour_is_built_later()
    {
        await using var server = await BaseMoveServer.StartAsync(
            b => b with { MaxRebuildsPerHour = 1 },
            fakeTime: true
        );
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0&arg.X=1", BaseMoveServer.Recipe(Os), (Os, first));
        await server.BuildAsync("?tag=2.0&arg.X=2", BaseMoveServer.Recipe(Os), (Os, first));

        await server.PushBaseAsync(Os);
        await server.StartedAsync(1);
        var at = server.Builds.Time!.GetUtcNow();
        await server.StartedAsync(2, advance: TimeSpan.FromMinutes(10));
        Assert.True(server.Builds.Time.GetUtcNow() - at >= TimeSpan.FromHours(1));
    }

    [Fact]
    public async Task What_has_to_wait_is_built_however_long_it_waits()
    {
        var bound = 0;
        await using var server = await BaseMoveServer.StartAsync(
            b => b with { MaxRebuildsPerHour = bound },
            fakeTime: true
        );
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0", BaseMoveServer.Recipe(Os), (Os, first));
        await server.PushBaseAsync(Os);
        await server.PutOffAsync();
        server.Builds.Time!.Advance(TimeSpan.FromHours(30));
        await server.PutOffAsync();

        bound = 1;
        await server.Builds.RestartAsync();
        await server.StartedAsync(1, advance: TimeSpan.FromMinutes(10));
    }

    [Fact]
    public async Task No_more_are_unfinished_at_a_time_than_the_operator_lets()
    {
        await using var server = await BaseMoveServer.StartAsync(b => b with { MaxRebuildsAtOnce = 1 }, fakeTime: true);
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0&arg.X=1", BaseMoveServer.Recipe(Os), (Os, first));
        await server.BuildAsync("?tag=2.0&arg.X=2", BaseMoveServer.Recipe(Os), (Os, first));
        var second = await server.PushBaseAsync(Os);

        await server.StartedAsync(1);
        await server.PutOffAsync();
        Assert.Single(await server.RebuildsAsync());
        await server.SucceedAsync(await server.ClaimAsync(), (Os, second));
        await server.StartedAsync(2, advance: TimeSpan.FromMinutes(2));
    }

    [Fact]
    public async Task What_nobody_can_build_now_is_built_after_a_restart()
    {
        await using var server = await BaseMoveServer.StartAsync(fakeTime: true);
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0", BaseMoveServer.Recipe(Os), (Os, first));
        server.Builds.Status.Abilities = NodeAbilities.None("the node is away");
        await server.PushBaseAsync(Os);
        await server.Builds.RestartAsync();

        await server.StartedAsync(1, advance: TimeSpan.FromMinutes(10));
        Assert.Single(await server.RebuildsAsync());
    }

    [Fact]
    public async Task A_base_of_an_upstream_is_looked_after()
    {
        await using var hub = await TestServer.StartAsync();
        var upstream = new UpstreamOptions
        {
            Host = "hub.example.org",
            Prefix = "hub",
            Urls = [new Uri(hub.Url)],
            TagAge = TimeSpan.FromMinutes(5),
        };
        await using var server = await BaseMoveServer.StartAsync(
            fakeTime: true,
            options: o => o with { Upstreams = [upstream] }
        );
        await hub.Http.PushAsync("base/os", Samples.Image(), "1");
        var first = await server.DigestAsync("hub/base/os", "1");
        const string name = "hub.example.org/base/os:1";
        await server.BuildAsync("?tag=1.0", $"FROM {name}\n", "docker://" + name, first);

        await hub.Http.PushAsync("base/os", Samples.Image(), "1");
        await server.StartedAsync(1, advance: TimeSpan.FromMinutes(11));
    }

    [Fact]
    public async Task Nothing_is_built_anew_unless_the_operator_wants_it()
    {
        await using var server = await BaseMoveServer.StartAsync(b => b with { Rebuild = RebuildTriggers.Off });
        var first = await server.PushBaseAsync(Os);
        await server.BuildAsync("?tag=1.0", BaseMoveServer.Recipe(Os), (Os, first));

        await server.PushBaseAsync(Os);
        await server.LookedAtAsync();
        Assert.Empty(await server.RebuildsAsync());
    }
}
