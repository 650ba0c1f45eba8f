using System.Net;
using System.Net.Http.Headers;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Access;
using Kiln.Tests.Builds;
using Kiln.Tests.Registry;
using Kiln.Tests.Registry.Upstreams;

namespace Kiln.Tests.Front;

/// <summary>Nobody may do more through the front than the registry behind lets them, whatever the front's own login may.</summary>
public sealed class FrontRightsTests
{
    private const string Repository = "team/app";
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    // The users of AccessServer: their rights are in their names. Behind, nobody knows of builds; who may push may build.
    [InlineData("all", 202)]
    [InlineData("not-build", 202)]
    [InlineData("pull", 403)]
    [InlineData("not-push", 403)]
    [InlineData("push", 403)]
    [InlineData("other", 403)]
    [InlineData("nobody", 403)]
    [InlineData(null, 401)]
    public async Task Who_may_not_push_and_pull_behind_cannot_build(string? user, int status)
    {
        await using var behind = await AccessServer.StartAsync();
        await using var front = await FrontServer.StartGuardedAsync(behind.Server.Url);
        using var asked = await FrontServer.PostAsync(front, Repository, user);
        Assert.Equal(status, (int)asked.StatusCode);
        if (status == 401)
        {
            // Of the registry behind, whose tokens they are.
            Assert.Contains($"realm=\"{behind.Server.Url}/token\"", asked.Header("WWW-Authenticate"));
            Assert.Contains($"scope=\"repository:{Repository}:pull,push\"", asked.Header("WWW-Authenticate"));
        }

        Assert.Equal(status == 202, await front.Node.TryClaimAsync() is not null);
        using var left = await behind.SendAsync(AccessServer.Basic("root"), "GET", $"{Repository}/tags/list");
        Assert.DoesNotContain("1.0", await left.Content.ReadAsStringAsync(Cancel), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Tokens_of_the_registry_behind_are_good_for_builds_as_far_as_they_go()
    {
        await using var behind = await AccessServer.StartAsync();
        await using var front = await FrontServer.StartGuardedAsync(behind.Server.Url);
        foreach (var (scope, status) in new[] { ("pull", 401), ("pull,push", 202) })
        {
            using var given = await behind.SendAsync(
                AccessServer.Basic("all"),
                "GET",
                $"/token?service=x&scope=repository:{Repository}:{scope}"
            );
            var token = System.Text.Json.Nodes.JsonNode.Parse(await given.Content.ReadAsStringAsync(Cancel))!["token"]!;
            using var request = new HttpRequestMessage(HttpMethod.Post, $"{Repository}/_build/v1/jobs?tag=1.0")
            {
                Content = new StringContent(
                    BuildServer.Containerfile,
                    new MediaTypeHeaderValue(BuildMediaTypes.TextDockerfile)
                ),
            };
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token.ToString());
            using var asked = await front.Http.SendAsync(request, Cancel);
            Assert.Equal(status, (int)asked.StatusCode);
            if (status == 202)
            {
                Assert.Equal("all", (await BuildServer.ReadAsync(asked)).CreatedBy);
            }
        }
    }

    [Fact]
    public async Task Jobs_and_logs_are_for_those_who_may_pull()
    {
        await using var behind = await AccessServer.StartAsync();
        await using var front = await FrontServer.StartGuardedAsync(behind.Server.Url);
        using var asked = await FrontServer.PostAsync(front, Repository, "all");
        var job = await BuildServer.ReadAsync(asked);
        await front.Node.SucceedAsync(await front.Node.ClaimAsync());
        await FrontServer.EndAsync(front, Repository, job.Id, "all");
        foreach (var (user, status) in new[] { ("pull", 200), ("other", 403), ("push", 403), ("all", 200) })
        {
            foreach (var path in new[] { "", "/logs" })
            {
                using var read = await FrontServer.SendAsync(
                    front,
                    "GET",
                    $"{Repository}/_build/v1/jobs/{job.Id}{path}",
                    user
                );
                Assert.Equal(status, (int)read.StatusCode);
            }

            using var manifest = await FrontServer.SendAsync(front, "GET", $"{Repository}/manifests/1.0", user);
            Assert.Equal(status, (int)manifest.StatusCode);
        }

        using var cancel = await FrontServer.SendAsync(
            front,
            "DELETE",
            $"{Repository}/_build/v1/jobs/{job.Id}",
            "pull"
        );
        Assert.Equal(HttpStatusCode.Forbidden, cancel.StatusCode);
        using var hooks = await FrontServer.SendAsync(front, "GET", $"{Repository}/_build/v1/hooks", "root");
        Assert.Equal(HttpStatusCode.NotFound, hooks.StatusCode);
    }

    [Fact]
    public async Task A_build_stands_only_on_bases_that_its_requester_could_pull()
    {
        await using var behind = await AccessServer.StartAsync();
        await using var front = await FrontServer.StartGuardedAsync(behind.Server.Url);
        using var root = new HttpClient { BaseAddress = behind.Http.BaseAddress };
        root.DefaultRequestHeaders.Authorization = AuthenticationHeaderValue.Parse(AccessServer.Basic("root"));
        await ThroughServer.PushAsync(root, "other/base", "1");
        await ThroughServer.PushAsync(root, "team/base", "1");
        using var asked = await FrontServer.PostAsync(
            front,
            Repository,
            "all",
            $"FROM {front.Host}/team/base:1\nCOPY --from={front.Host}/other/base:1 /a /a\n"
        );
        Assert.Equal(HttpStatusCode.Accepted, asked.StatusCode);
        var lease = await front.Node.ClaimAsync();
        // Another server, or this one after a restart, knows the build as well.
        await front.RestartAsync();
        foreach (var (name, status) in new[] { ("team/base", 200), ("other/base", 403) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, $"{name}/manifests/1");
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", lease.Registry!.Token);
            using var pull = await front.Http.SendAsync(request, Cancel);
            Assert.Equal(status, (int)pull.StatusCode);
            using var list = new HttpRequestMessage(HttpMethod.Get, $"{name}/tags/list");
            list.Headers.Authorization = new AuthenticationHeaderValue("Bearer", lease.Registry!.Token);
            using var more = await front.Http.SendAsync(list, Cancel);
            Assert.Equal(HttpStatusCode.Forbidden, more.StatusCode);
        }

        // It opens nothing in the registry behind.
        using var there = await behind.SendAsync($"Bearer {lease.Registry!.Token}", "GET", "team/base/manifests/1");
        Assert.Equal(HttpStatusCode.Unauthorized, there.StatusCode);
    }

    [Fact]
    public async Task What_somebody_may_pull_is_not_learned_for_nobody_in_particular()
    {
        await using var behind = await AccessServer.StartAsync(
            AccessServer.Policy.Replace(
                "limits:",
                "  - { who: everybody, repositories: \"open/**\", actions: [pull, push] }\nlimits:",
                StringComparison.Ordinal
            )
        );
        await using var front = await FrontServer.StartGuardedAsync(
            behind.Server.Url,
            // Nobody in particular, and not this server's own user.
            build: b => b with { AllowHostNetwork = true },
            access: a => a with { InsecureAnonymous = true }
        );
        using var root = new HttpClient { BaseAddress = behind.Http.BaseAddress };
        root.DefaultRequestHeaders.Authorization = AuthenticationHeaderValue.Parse(AccessServer.Basic("root"));
        await ThroughServer.PushAsync(root, "team/base", "1");
        // The credentials make no difference where it is built, but would at the base.
        using var asked = await FrontServer.PostAsync(front, "open/app", "all", $"FROM {front.Host}/team/base:1\n");
        Assert.Equal("anonymous", (await BuildServer.ReadAsync(asked)).CreatedBy);
        var lease = await front.Node.ClaimAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, "team/base/manifests/1");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", lease.Registry!.Token);
        using var pull = await front.Http.SendAsync(request, Cancel);
        await pull.ShouldFailAsync(403, "DENIED");
    }

    [Fact]
    public async Task A_login_of_the_front_that_may_not_push_there_fails_the_job_with_a_sentence()
    {
        await using var behind = await AccessServer.StartAsync();
        await using var front = await FrontServer.StartGuardedAsync(behind.Server.Url, "pull");
        using var asked = await FrontServer.PostAsync(front, Repository, "all");
        var id = (await BuildServer.ReadAsync(asked)).Id;
        await front.Node.SucceedAsync(await front.Node.ClaimAsync());
        var job = await FrontServer.EndAsync(front, Repository, id, "all");
        Assert.Equal(BuildStates.Failed, job.State);
        Assert.Equal(FailureReasons.PolicyDenied, job.Reason);
        Assert.Contains("its operator has to give it one that may", job.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nobody_in_particular_builds_only_where_the_operator_says_so()
    {
        await using var behind = await FrontServer.OpenAsync();
        await using var front = await FrontServer.StartAsync(
            behind.Url,
            options: o => o with { Access = o.Access with { InsecureAnonymous = false } },
            // A build there would be the server's own user as well: its word is not taken.
            build: b => b with { AllowHostNetwork = true }
        );
        // Where everybody is let in, a name and a password say nothing.
        foreach (var user in new[] { null, "root" })
        {
            using var asked = await FrontServer.PostAsync(front, Repository, user);
            await asked.ShouldFailAsync(403, "DENIED");
        }

        await using var own = await FrontServer.StartAsync(
            behind.Url,
            options: o => o with { Access = o.Access with { InsecureAnonymous = false } }
        );
        using var mine = await FrontServer.PostAsync(own, Repository, null);
        Assert.Equal(HttpStatusCode.Accepted, mine.StatusCode);
        Assert.StartsWith("uid:", (await BuildServer.ReadAsync(mine)).CreatedBy, StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_who_cannot_pull_gets_no_build_of_a_recipe_that_they_push()
    {
        await using var behind = await AccessServer.StartAsync();
        await using var front = await FrontServer.StartGuardedAsync(behind.Server.Url);
        using var http = new HttpClient { BaseAddress = front.Http.BaseAddress };
        http.DefaultRequestHeaders.Authorization = AuthenticationHeaderValue.Parse(AccessServer.Basic("push"));
        using var pushed = await FrontServer.PushRecipeAsync(http, Repository, "1.0.recipe");
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        Assert.Contains("no build was started", pushed.Header("Warning"));
        Assert.Null(await front.Node.TryClaimAsync());
    }
}
