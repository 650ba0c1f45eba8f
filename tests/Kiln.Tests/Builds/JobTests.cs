using System.Net;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Tests.Builds;

/// <summary>The whole way of a build: request, queue, lease, product, tags.</summary>
public sealed class JobTests
{
    [Fact]
    public async Task A_posted_containerfile_becomes_a_tagged_index_with_hints()
    {
        await using var server = await BuildServer.StartAsync();
        using var response = await server.PostAsync("?tag=1.0,latest&arg.MSG=hi&target=");
        var job = await BuildServer.ReadAsync(response);
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal($"/v2/hpc/app/_build/v1/jobs/{job.Id}", response.Headers.Location!.OriginalString);
        Assert.NotNull(response.Headers.RetryAfter);
        Assert.Equal((BuildStates.Queued, false), (job.State, job.Done));
        Assert.Equal(0, job.Tasks[0].QueuePosition);

        var lease = await server.Node.ClaimAsync();
        Assert.Equal("hi", lease.Task.Args["MSG"]);
        Assert.Equal(("hpc/app", 1), (lease.Repository, lease.Attempt));
        await using (
            var recipe = await server.Coordinator.OpenBlobAsync(
                lease,
                lease.Task.Recipe.Digest,
                TestContext.Current.CancellationToken
            )
        )
        {
            using var reader = new StreamReader(recipe!);
            Assert.Equal(BuildServer.Containerfile, await reader.ReadToEndAsync(TestContext.Current.CancellationToken));
        }

        Assert.Equal(BuildStates.Running, (await server.GetAsync(job.Id)).State);
        await server.Node.LogAsync(lease, "step 1\n");
        await server.Node.SucceedAsync(lease);

        var done = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Succeeded, true), (done.State, done.Done));
        Assert.Equal(["1.0", "latest"], done.Result!.Tags);
        Assert.Equal((FlattenVerdict.Allow, 5L, 1L), Hints(done));
        var index = await server.TagAsync("latest");
        var entry = Assert.Single(index!.Manifests);
        Assert.Equal("linux/amd64", entry.Platform!.ToString());
        Assert.Equal("5", entry.Annotations![HintAnnotations.UnpackedBytes]);
        Assert.Equal("uids=1;gids=1;setid=0;caps=0", entry.Annotations[HintAnnotations.Ids]);
        Assert.Equal(done.Result.Outputs[0].Manifest.Digest, entry.Digest);
        Assert.Equal("# attempt 1 on test-node, linux/amd64\nstep 1\n", await server.LogAsync(job.Id));
        Assert.True((await server.Http.GetAsync(Recipe(done))).IsSuccessStatusCode);
    }

    [Fact]
    public async Task Two_targets_are_two_executions_and_one_index_with_the_generic_image_first()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0&microarchitecture=x86_64_v3&platform=linux/amd64,linux/arm64");
        Assert.Equal(["linux/amd64", "linux/arm64", "linux/amd64/v3"], job.Tasks.Select(t => t.Platform));
        Assert.Equal("x86_64_v3", job.Tasks[2].Microarchitecture);

        for (var i = 0; i < 3; i++)
        {
            Assert.Null(await server.TagAsync("1.0"));
            var lease = await server.Node.ClaimAsync();
            await server.Node.SucceedAsync(lease, $"for {lease.Task.Platform}");
        }

        var index = await server.TagAsync("1.0");
        Assert.Equal(
            ["linux/amd64", "linux/arm64", "linux/amd64/v3"],
            index!.Manifests.Select(m => m.Platform!.ToString())
        );
    }

    [Fact]
    public async Task A_recipe_that_fails_says_so_and_leaves_the_tag_alone()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0&platform=linux/amd64,linux/arm64");
        await server.Node.FailAsync(await server.Node.ClaimAsync());

        var failed = await server.GetAsync(job.Id);
        Assert.Equal(
            (BuildStates.Failed, FailureReasons.RecipeError, "RUN make exited 2"),
            (failed.State, failed.Reason, failed.Message)
        );
        Assert.Equal(2, failed.Tasks[0].ExitCode);
        Assert.Equal(BuildStates.Canceled, failed.Tasks[1].State);
        Assert.Null(await server.TagAsync("1.0"));

        var again = await server.SubmitAsync("?tag=1.0&platform=linux/amd64,linux/arm64");
        Assert.Equal(BuildStates.Queued, again.State);
        Assert.All(again.Tasks, task => Assert.False(task.Cached || task.Shared));
    }

    [Fact]
    public async Task A_product_that_does_not_fit_or_is_not_there_is_refused()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxAttempts = 1 });
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync(), platform: new Platform("linux", "s390x"));
        var failed = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.ResultInvalid), (failed.State, failed.Reason));
        Assert.Contains("s390x", failed.Message);

        job = await server.SubmitAsync("?tag=1.0");
        var manifest = new Descriptor
        {
            MediaType = MediaTypes.OciManifest,
            Digest = Digest.EmptyJson,
            Size = 2,
        };
        await server.Node.CompleteAsync(
            await server.Node.ClaimAsync(),
            new LeaseResult { State = BuildStates.Succeeded, Manifest = manifest }
        );
        Assert.Equal(FailureReasons.ResultInvalid, (await server.GetAsync(job.Id)).Reason);
        Assert.Null(await server.TagAsync("1.0"));
    }

    [Fact]
    public async Task What_a_lease_pushed_is_invisible_until_it_is_published()
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var manifest = await server.Node.PushImageAsync(lease, "hello", lease.Task.Platform);

        var uri = new Uri($"{BuildServer.Repository}/manifests/{manifest.Digest}", UriKind.Relative);
        Assert.Equal(HttpStatusCode.NotFound, (await server.Http.GetAsync(uri)).StatusCode);
        await server.Node.CompleteAsync(lease, new LeaseResult { State = BuildStates.Succeeded, Manifest = manifest });
        Assert.Equal(HttpStatusCode.OK, (await server.Http.GetAsync(uri)).StatusCode);
    }

    [Fact]
    public async Task A_waiting_client_is_answered_when_the_build_ends()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        using var request = new HttpRequestMessage(HttpMethod.Get, BuildServer.JobUri(job.Id));
        request.Headers.Add("Prefer", "wait=20");
        var waiting = server.Http.SendAsync(request);
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        using var response = await waiting;
        Assert.Equal("wait=20", response.Headers.GetValues("Preference-Applied").Single());
        Assert.True((await BuildServer.ReadAsync(response)).Done);
    }

    [Fact]
    public async Task A_known_revision_is_304_and_waits_for_the_next()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        using var known = Conditional(job);
        using var unchanged = await server.Http.SendAsync(known);
        Assert.Equal(HttpStatusCode.NotModified, unchanged.StatusCode);

        using var request = Conditional(job);
        request.Headers.Add("Prefer", "wait=20");
        var waiting = server.Http.SendAsync(request);
        await server.Node.ClaimAsync();
        using var changed = await waiting;
        Assert.Equal(BuildStates.Running, (await BuildServer.ReadAsync(changed)).State);
    }

    [Fact]
    public async Task Jobs_are_listed_newest_first_in_pages_and_by_state_and_tag()
    {
        await using var server = await BuildServer.StartAsync();
        var ids = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            ids.Add((await server.SubmitAsync($"?tag=v_{i}&arg.N={i}")).Id);
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }

        ids.Reverse();
        await server.Node.FailAsync(await server.Node.ClaimAsync());
        Assert.Equal(ids, await ListAsync(server, "?n=50"));
        Assert.Equal(ids[..2], await ListAsync(server, "?n=2", next: true));
        Assert.Equal(ids[2..], await ListAsync(server, $"?n=2&last={ids[1]}"));
        Assert.Equal(ids[2..], await ListAsync(server, "?state=failed"));
        Assert.Equal(ids[1..2], await ListAsync(server, "?tag=v_1"));
        Assert.Empty(await ListAsync(server, "?tag=v1"));
    }

    private static async Task<List<string>> ListAsync(BuildServer server, string query, bool next = false)
    {
        using var response = await server.Http.GetAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/jobs{query}", UriKind.Relative)
        );
        Assert.Equal(next, response.Headers.Contains("Link"));
        var list = JsonSerializer.Deserialize(await response.Content.ReadAsByteArrayAsync(), BuildJson.Default.JobList);
        return [.. list!.Jobs.Select(j => j.Id)];
    }

    private static HttpRequestMessage Conditional(Job job)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, BuildServer.JobUri(job.Id));
        request.Headers.Add("If-None-Match", $"W/\"{job.Revision}\"");
        return request;
    }

    private static Uri Recipe(Job job) =>
        new($"{BuildServer.Repository}/manifests/{job.Recipe.Digest}", UriKind.Relative);

    private static (string, long, long) Hints(Job job)
    {
        var hints = job.Tasks[0].Hints!;
        return (hints.FlattenOwnership, hints.UncompressedBytes, hints.Files);
    }
}
