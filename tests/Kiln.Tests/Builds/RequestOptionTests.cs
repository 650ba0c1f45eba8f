using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>Requests that may be repeated, that look bases up anew, that move tags under a condition or in part.</summary>
public sealed class RequestOptionTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_same_key_with_the_same_request_is_the_same_job_and_with_another_a_conflict()
    {
        await using var server = await BuildServer.StartAsync();
        using var first = await PostAsync(server, "?tag=1.0&cache=none", "k1");
        using var again = await PostAsync(server, "?tag=1.0&cache=none", "k1");
        using var fresh = await PostAsync(server, "?tag=1.0&cache=none", "k2");
        var one = await BuildServer.ReadAsync(first);
        Assert.Equal(one.Id, (await BuildServer.ReadAsync(again)).Id);
        Assert.NotEqual(one.Id, (await BuildServer.ReadAsync(fresh)).Id);
        using (var other = await PostAsync(server, "?tag=2.0&cache=none", "k1"))
        {
            await other.ShouldFailAsync(422, "BUILD_IDEMPOTENCY_CONFLICT");
        }

        using (var bad = await PostAsync(server, "?tag=2.0", new string('k', 129)))
        {
            await bad.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
        }

        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        using var later = await PostAsync(server, "?tag=1.0&cache=none", "k1");
        Assert.Equal((HttpStatusCode.OK, one.Id), (later.StatusCode, (await BuildServer.ReadAsync(later)).Id));
    }

    // What a client insists on must not be refused by the very version that has it.
    [Stateless]
    [Fact]
    public async Task Every_member_of_a_request_may_be_insisted_on()
    {
        await using var server = await BuildServer.StartAsync();
        var members = BuildJson
            .Default.JobRequest.Properties.Where(p => !p.IsExtensionData)
            .Select(p => p.Name)
            .Where(name => name is not ("recipe" or "mustUnderstand"))
            .ToList();
        Assert.Contains("emulation", members);
        using var body = new StringContent(
            $$"""
            {"recipe":{"mediaType":"text/x-dockerfile","data":"RlJPTSBzY3JhdGNoCg=="},
             "mustUnderstand":["recipe",{{string.Join(',', members.Select(m => $"\"{m}\""))}}]}
            """,
            Encoding.UTF8,
            BuildMediaTypes.Request
        );
        using var response = await server.Http.PostAsync(
            new Uri("hpc/app/_build/v1/jobs", UriKind.Relative),
            body,
            Cancel
        );
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync(Cancel));
    }

    [Fact]
    public async Task Many_at_once_with_one_key_make_one_job()
    {
        await using var server = await BuildServer.StartAsync();
        var responses = await Task.WhenAll(
            Enumerable.Range(0, 20).Select(_ => PostAsync(server, "?tag=1.0&cache=none", "k1"))
        );
        var ids = new HashSet<string>();
        foreach (var response in responses)
        {
            if (response.StatusCode == HttpStatusCode.Conflict)
            {
                await response.ShouldFailAsync(409, "BUILD_IDEMPOTENCY_CONFLICT");
            }
            else
            {
                ids.Add((await BuildServer.ReadAsync(response)).Id);
            }

            response.Dispose();
        }

        Assert.Single(ids);
    }

    [Fact]
    public async Task A_request_that_is_refused_leaves_nothing_behind()
    {
        await using var server = await BuildServer.StartAsync();
        using (var refused = await server.PostAsync("?platform=linux/s390x"))
        {
            await refused.ShouldFailAsync(422, "BUILD_PLATFORM_UNSUPPORTED");
        }

        using (var refused = await server.PostAsync("?tag=1.0&secret.s=nosuch"))
        {
            await refused.ShouldFailAsync(404, "BUILD_SECRET_UNKNOWN");
        }

        using var tags = await server.Http.GetAsync(
            new Uri($"{BuildServer.Repository}/tags/list", UriKind.Relative),
            Cancel
        );
        await tags.ShouldFailAsync(404, "NAME_UNKNOWN");
    }

    [Fact]
    public async Task Create_only_moves_no_tag_that_is_there()
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0&tagpolicy=create-only&arg.N=1");
        var slow = await server.Node.ClaimAsync();
        var second = await server.SubmitAsync("?tag=1.0&tagpolicy=create-only&arg.N=2");
        var fast = await server.Node.ClaimAsync();
        await server.Node.SucceedAsync(slow, "first");
        await server.Node.SucceedAsync(fast, "second");

        var failed = await server.GetAsync(second.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.PolicyDenied), (failed.State, failed.Reason));
        using var refused = await server.PostAsync("?tag=1.0&tagpolicy=create-only&arg.N=3");
        await refused.ShouldFailAsync(409, "BUILD_STATE_INVALID");
        using var unknown = await server.PostAsync("?tag=1.0&tagpolicy=never");
        await unknown.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
    }

    [Fact]
    public async Task If_unchanged_moves_a_tag_that_is_where_it_was()
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0&arg.N=1");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync(), "first");
        var good = await server.SubmitAsync("?tag=1.0&tagpolicy=if-unchanged&arg.N=2");
        var late = await server.SubmitAsync("?tag=1.0&tagpolicy=if-unchanged&arg.N=3");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync(), "second");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync(), "third");

        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(good.Id)).State);
        Assert.Equal(FailureReasons.PolicyDenied, (await server.GetAsync(late.Id)).Reason);
    }

    [Fact]
    public async Task Partial_publishes_what_succeeded_generic_first()
    {
        await using var server = await BuildServer.StartAsync();
        const string three = "?tag=1.0&partial=1&platform=linux/amd64/v3,linux/amd64,linux/arm64";
        var job = await server.SubmitAsync(three);
        for (var i = 0; i < 3; i++)
        {
            var lease = await server.Node.ClaimAsync();
            await (
                lease.Task.Platform.Architecture == "arm64"
                    ? server.Node.FailAsync(lease)
                    : server.Node.SucceedAsync(lease, lease.Task.Platform.ToString())
            );
        }

        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
        var index = await server.TagAsync("1.0");
        Assert.Equal([null, "v3"], index!.Manifests.Select(m => m.Platform!.Variant));

        var failed = await server.SubmitAsync("?tag=2.0&partial=1&arg.N=1");
        await server.Node.FailAsync(await server.Node.ClaimAsync());
        Assert.Equal(BuildStates.Failed, (await server.GetAsync(failed.Id)).State);
    }

    [Fact]
    public async Task Several_targets_are_one_index_generic_first_and_then_as_asked()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0&platform=linux/amd64/v3,linux/arm64,linux/amd64");
        Assert.Equal(["linux/amd64/v3", "linux/arm64", "linux/amd64"], job.Tasks.Select(t => t.Platform));
        for (var i = 0; i < 3; i++)
        {
            Assert.Null(await server.TagAsync("1.0"));
            var lease = await server.Node.ClaimAsync();
            await server.Node.SucceedAsync(lease, lease.Task.Platform.ToString());
        }

        var index = await server.TagAsync("1.0");
        Assert.Equal(
            ["linux/arm64", "linux/amd64", "linux/amd64/v3"],
            index!.Manifests.Select(m => m.Platform!.ToString())
        );
        Assert.Equal(
            index.Manifests.Select(m => m.Digest),
            (await server.GetAsync(job.Id)).Result!.Outputs.Select(o => o.Manifest.Digest)
        );
    }

    [Fact]
    public async Task Refresh_asks_the_node_and_tells_it_what_there_is()
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0");
        var first = await server.Node.ClaimAsync();
        var result = await server.Node.SucceedAsync(first);
        Assert.True((await server.SubmitAsync("?tag=1.1")).Cached);

        var job = await server.SubmitAsync("?tag=2.0&cache=refresh");
        Assert.False(job.Done);
        var lease = await server.Node.ClaimAsync();
        var earlier = Assert.Single(lease.Task.Earlier!);
        Assert.Equal(result.Manifest!.Digest, earlier.Manifest.Digest);
        Assert.True(earlier.IsOf([]));
        Assert.False(earlier.IsOf([new ResolvedDependency { Uri = "docker://a", Digest = Digest.EmptyJson }]));
        await server.Node.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Succeeded,
                Manifest = earlier.Manifest,
                ResolvedDependencies = [],
            }
        );
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
        Assert.NotNull(await server.TagAsync("2.0"));
    }

    [Fact]
    public async Task Jobs_are_listed_by_their_recipe()
    {
        await using var server = await BuildServer.StartAsync();
        var one = await server.SubmitAsync("?tag=1.0");
        await server.SubmitAsync("?tag=1.0", "FROM scratch\nCOPY other /\n");
        var list = await server.Http.GetJsonAsync(
            $"{BuildServer.Repository}/_build/v1/jobs?recipe={one.Recipe.Digest}"
        );
        Assert.Equal([one.Id], list["jobs"]!.AsArray().Select(j => (string)j!["id"]!));
    }

    [Fact]
    public async Task A_recipe_of_four_gibibytes_is_refused_before_it_is_read()
    {
        await using var server = await BuildServer.StartAsync();
        await using var client = await RawClient.ConnectAsync(server.Http.BaseAddress!.ToString());
        await client.SendAsync(
            $"POST /v2/{BuildServer.Repository}/_build/v1/jobs HTTP/1.1\r\nHost: {server.Host}\r\n"
                + "Content-Type: text/x-dockerfile\r\nContent-Length: 4294967296\r\n\r\nFROM"
        );
        var answer = await client.ReceiveAsync();
        Assert.StartsWith("HTTP/1.1 413 ", answer, StringComparison.Ordinal);
        Assert.Contains("BUILD_REQUEST_INVALID", answer);
    }

    [Fact]
    public async Task Ten_thousand_platforms_are_refused()
    {
        await using var server = await BuildServer.StartAsync();
        var targets = string.Join(',', Enumerable.Range(0, 10_000).Select(i => $$"""{"platform":"linux/p{{i}}"}"""));
        using var content = new StringContent(
            $$$"""{"recipe":{"mediaType":"text/x-dockerfile","data":"RlJPTSBzY3JhdGNo"},"targets":[{{{targets}}}]}""",
            Encoding.UTF8
        );
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using var refused = await server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/jobs", UriKind.Relative),
            content,
            Cancel
        );
        await refused.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
    }

    [Theory]
    [InlineData(PushTriggers.Off, null, "a push starts none")]
    [InlineData(PushTriggers.Off, "push", "a push starts none")]
    [InlineData(PushTriggers.OptIn, null, "org.supercontainers.build.trigger=push")]
    [InlineData(PushTriggers.OptIn, "push", "queued")]
    [InlineData(PushTriggers.On, null, "queued")]
    [InlineData(PushTriggers.On, "none", null)]
    public async Task A_push_starts_what_the_policy_lets_it(PushTriggers trigger, string? asked, string? warning)
    {
        await using var server = await BuildServer.StartAsync(b => b with { Trigger = trigger });
        var annotations = asked is null ? null : new Dictionary<string, string> { [RecipeAnnotations.Trigger] = asked };
        using var pushed = await server.PushRecipeAsync("1.0.recipe", annotations, await server.RecipeLayerAsync());
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        if (warning is null)
        {
            Assert.Null(pushed.Header("Warning"));
        }
        else
        {
            Assert.Contains(warning, pushed.Header("Warning"));
        }

        Assert.Equal(warning == "queued", await server.Node.TryClaimAsync() is not null);
    }

    [Fact]
    public async Task A_storm_of_pushes_is_broken_and_passes()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxTriggersPerMinute = 3 }, fakeTime: true);
        for (var i = 0; i < 5; i++)
        {
            var layer = await server.RecipeLayerAsync($"FROM scratch\nLABEL n={i}\n");
            using var pushed = await server.PushRecipeAsync($"{i}.recipe", null, layer);
            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
            Assert.Equal(i >= 3, pushed.Header("Warning")!.Contains("within a minute", StringComparison.Ordinal));
        }

        server.Time!.Advance(TimeSpan.FromSeconds(61));
        using var later = await server.PushRecipeAsync(
            "9.recipe",
            null,
            await server.RecipeLayerAsync("FROM scratch\nLABEL n=9\n")
        );
        Assert.Contains("queued", later.Header("Warning"));
    }

    private static async Task<HttpResponseMessage> PostAsync(BuildServer server, string query, string key)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{BuildServer.Repository}/_build/v1/jobs{query}");
        request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(BuildServer.Containerfile));
        request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(BuildMediaTypes.TextDockerfile);
        request.Headers.Add("Idempotency-Key", key);
        return await server.Http.SendAsync(request);
    }
}
