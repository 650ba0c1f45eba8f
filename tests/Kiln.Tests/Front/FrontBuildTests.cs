using System.Net;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Tests.Builds;
using Kiln.Tests.Registry;
using Kiln.Tests.Registry.Upstreams;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Front;

/// <summary>Builds in front of another registry: recipes come from it, and images land there.</summary>
public sealed class FrontBuildTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;
    private static string Repository => BuildServer.Repository;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_recipe_that_is_pushed_through_the_front_becomes_an_image_behind(bool docker)
    {
        using var registry = docker ? ThroughServer.RequireRegistry() : null;
        await using var kiln = docker ? null : await FrontServer.OpenAsync();
        using var there = registry is null ? null : ThroughServer.ClientOf(registry.Host);
        var behind = there ?? kiln!.Http;
        await using var front = await FrontServer.StartAsync(kiln?.Url ?? $"http://{registry!.Host}");
        using var pushed = await FrontServer.PushRecipeAsync(front.Http, Repository, "1.0.recipe");
        Assert.True(pushed.StatusCode == HttpStatusCode.Created, await pushed.Content.ReadAsStringAsync(Cancel));
        Assert.Contains($"{Repository}:1.0; follow", pushed.Header("Warning"));
        Assert.Contains("rel=\"status\"", pushed.Header("Link"));
        // A pull of it is held as it is in a registry of its own.
        using (var early = await front.Http.SendAsync("GET", $"{Repository}/manifests/1.0"))
        {
            await early.ShouldFailAsync(429, "TOOMANYREQUESTS");
        }

        var lease = await front.Node.ClaimAsync();
        await front.Node.LogAsync(lease, "building\n");
        await front.Node.SucceedAsync(lease);
        var job = await FrontServer.UntilAsync(front, (await front.JobsAsync())[0].Id, j => j.Done);
        Assert.Equal(BuildStates.Succeeded, job.State);
        await FrontServer.ShouldHaveAsync(behind, Repository, job, "1.0");
        var product = job.Result!.Outputs[0].Manifest.Digest;
        var referrers = (await front.Http.GetJsonAsync($"{Repository}/referrers/{product}"))["manifests"]!.AsArray();
        Assert.Equal(2, referrers.Count);
        Assert.NotNull(await FrontServer.ManifestAsync(front.Http, Repository, "1.0"));
        // Tags are behind; what is left here goes by itself.
        using var none = await front.Http.SendAsync("GET", $"{Repository}/manifests/2.0");
        Assert.Equal(HttpStatusCode.NotFound, none.StatusCode);
    }

    [Fact]
    public async Task A_request_names_recipes_that_are_behind_or_brings_one_with_contexts_that_were_pushed_there()
    {
        await using var behind = await FrontServer.OpenAsync();
        await using var front = await FrontServer.StartAsync(behind.Url);
        var tar = new Kiln.Tests.Inspect.Tars().File("hello", "hello").Bytes();
        var context = await front.PushBlobAsync(Kiln.Tests.Inspect.Tars.Gzip(tar), BuildMediaTypes.Context);
        using (
            var pushed = await front.PushRecipeAsync(
                "1.0.recipe",
                new Dictionary<string, string> { [RecipeAnnotations.Trigger] = "none" },
                await front.RecipeLayerAsync(),
                context
            )
        )
        {
            Assert.Null(pushed.Header("Link"));
        }

        foreach (
            var request in new[]
            {
                """{"recipe":{"tag":"1.0.recipe"},"cache":{"policy":"none"}}""",
                $$"""
                    {"recipe":{"mediaType":"{{BuildMediaTypes.TextDockerfile}}","data":"{{Convert.ToBase64String(
                        Encoding.UTF8.GetBytes(BuildServer.Containerfile)
                    )}}"},
                    "tags":["1.0"],"contexts":[{"mediaType":"{{context.MediaType}}","digest":"{{context.Digest}}","size":{{context.Size}}}]}
                    """,
            }
        )
        {
            await BuildAsync(front, behind.Http, request);
        }

        using var missing = await front.Http.SendAsync(
            "POST",
            $"{Repository}/_build/v1/jobs",
            """{"recipe":{"tag":"none"}}"""u8.ToArray(),
            BuildMediaTypes.Request
        );
        await missing.ShouldFailAsync(404, "BUILD_RECIPE_UNKNOWN");
    }

    private static async Task BuildAsync(BuildServer front, HttpClient behind, string request)
    {
        using var asked = await front.Http.SendAsync(
            "POST",
            $"{Repository}/_build/v1/jobs",
            Encoding.UTF8.GetBytes(request),
            BuildMediaTypes.Request
        );
        Assert.True(asked.IsSuccessStatusCode, await asked.Content.ReadAsStringAsync(Cancel));
        var id = (await BuildServer.ReadAsync(asked)).Id;
        var lease = await front.Node.ClaimAsync();
        await using (
            var blob = await front.Coordinator.OpenBlobAsync(lease, lease.Task.Contexts[0].Blob.Digest, Cancel)
        )
        {
            Assert.NotNull(blob);
        }

        await front.Node.SucceedAsync(lease, id);
        var job = await FrontServer.UntilAsync(front, id, j => j.Done);
        Assert.Equal(BuildStates.Succeeded, job.State);
        await FrontServer.ShouldHaveAsync(behind, Repository, job, "1.0");
        // The recipe can be had where the image says that it is.
        Assert.NotNull(await FrontServer.ManifestAsync(behind, Repository, job.Recipe.Digest.ToString()));
    }

    [Fact]
    public async Task While_the_registry_behind_is_away_an_image_waits_over_restarts_and_then_lands_whole()
    {
        using var registry = ThroughServer.RequireRegistry();
        using var behind = ThroughServer.ClientOf(registry.Host);
        await using var front = await FrontServer.StartAsync(
            $"http://{registry.Host}",
            options: o => o with { Operation = o.Operation with { ManagementUrl = "http://127.0.0.1:0" } }
        );
        var id = (await front.SubmitAsync("?tag=1.0")).Id;
        var lease = await front.Node.ClaimAsync();
        registry.Kill();
        await front.Node.SucceedAsync(lease);
        var waiting = await FrontServer.UntilAsync(front, id, j => j.Message is not null);
        Assert.Equal(BuildStates.Running, waiting.State);
        Assert.Contains("on its way to", waiting.Message, StringComparison.Ordinal);
        var metrics = front.Services.GetRequiredService<Kiln.Server.Operation.MetricsPage>().Write();
        Assert.Contains("kiln_front_landings_waiting 1\n", metrics, StringComparison.Ordinal);
        Assert.Contains("kiln_front_behind_up", metrics, StringComparison.Ordinal);
        await front.RestartAsync();
        // Who may read the job, the registry behind says: nobody now.
        using (var unknown = await front.Http.GetAsync(BuildServer.JobUri(id), Cancel))
        {
            await unknown.ShouldFailAsync(503, "UNAVAILABLE");
        }

        registry.Start();
        var job = await FrontServer.UntilAsync(front, id, j => j.Done);
        Assert.Equal(BuildStates.Succeeded, job.State);
        Assert.Null(job.Message);
        await FrontServer.ShouldHaveAsync(behind, Repository, job, "1.0");
    }

    [Fact]
    public async Task An_image_that_cannot_land_in_time_fails_its_job_and_moves_no_tag()
    {
        using var registry = ThroughServer.RequireRegistry();
        await using var front = await FrontServer.StartAsync(
            $"http://{registry.Host}",
            f => f with { LandingTime = TimeSpan.FromSeconds(2) }
        );
        var id = (await front.SubmitAsync("?tag=1.0")).Id;
        var lease = await front.Node.ClaimAsync();
        registry.Kill();
        await front.Node.SucceedAsync(lease);
        var job = await FrontServer.UntilAsync(front, id, j => j.Done);
        Assert.Equal(BuildStates.Failed, job.State);
        Assert.Equal(FailureReasons.SystemError, job.Reason);
        Assert.Contains(registry.Host, job.Message, StringComparison.Ordinal);
        registry.Start();
        using var behind = ThroughServer.ClientOf(registry.Host);
        Assert.Null(await FrontServer.ManifestAsync(behind, Repository, "1.0"));
        // The same again is answered by what was built, and lands.
        var again = await FrontServer.UntilAsync(front, (await front.SubmitAsync("?tag=1.0")).Id, j => j.Done);
        Assert.Equal(BuildStates.Succeeded, again.State);
        Assert.True(again.Cached);
        await FrontServer.ShouldHaveAsync(behind, Repository, again, "1.0");
    }

    [Fact]
    public async Task A_job_that_is_cancelled_while_its_image_is_on_its_way_moves_no_tag()
    {
        using var registry = ThroughServer.RequireRegistry();
        using var behind = ThroughServer.ClientOf(registry.Host);
        await using var front = await FrontServer.StartAsync($"http://{registry.Host}");
        var id = (await front.SubmitAsync("?tag=1.0")).Id;
        var lease = await front.Node.ClaimAsync();
        registry.Kill();
        await front.Node.SucceedAsync(lease);
        await FrontServer.UntilAsync(front, id, j => j.Message is not null);
        registry.Start();
        using var canceled = await front.Http.DeleteAsync(BuildServer.JobUri(id), Cancel);
        var job = await BuildServer.ReadAsync(canceled);
        if (job.State == BuildStates.Canceled)
        {
            // A moment in which it would have landed.
            await Task.Delay(3000, Cancel);
            Assert.Null(await FrontServer.ManifestAsync(behind, Repository, "1.0"));
            Assert.Equal(BuildStates.Canceled, (await front.GetAsync(id)).State);
        }
        else
        {
            // It came too late: then the image is there.
            Assert.Equal(BuildStates.Succeeded, (await FrontServer.UntilAsync(front, id, j => j.Done)).State);
            Assert.NotNull(await FrontServer.ManifestAsync(behind, Repository, "1.0"));
        }
    }

    [Fact]
    public async Task Tag_policies_are_about_the_tags_behind()
    {
        await using var behind = await FrontServer.OpenAsync();
        await using var front = await FrontServer.StartAsync(behind.Url);
        await ThroughServer.PushAsync(behind.Http, Repository, "1.0");
        var before = (await FrontServer.ManifestAsync(behind.Http, Repository, "1.0"))!.Value.Digest;
        using (var refused = await front.PostAsync("?tag=1.0&tagpolicy=create-only"))
        {
            await refused.ShouldFailAsync(409, "BUILD_STATE_INVALID");
        }

        var unchanged = await front.SubmitAsync("?tag=1.0&tagpolicy=if-unchanged");
        await front.Node.SucceedAsync(await front.Node.ClaimAsync());
        Assert.Equal(BuildStates.Succeeded, (await FrontServer.UntilAsync(front, unchanged.Id, j => j.Done)).State);
        Assert.NotEqual(before, (await FrontServer.ManifestAsync(behind.Http, Repository, "1.0"))!.Value.Digest);

        var moved = await front.SubmitAsync("?tag=1.0&tagpolicy=if-unchanged&cache=none");
        var lease = await front.Node.ClaimAsync();
        await ThroughServer.PushAsync(behind.Http, Repository, "1.0");
        var theirs = (await FrontServer.ManifestAsync(behind.Http, Repository, "1.0"))!.Value.Digest;
        await front.Node.SucceedAsync(lease, "another");
        var failed = await FrontServer.UntilAsync(front, moved.Id, j => j.Done);
        Assert.Equal(FailureReasons.PolicyDenied, failed.Reason);
        Assert.Equal(theirs, (await FrontServer.ManifestAsync(behind.Http, Repository, "1.0"))!.Value.Digest);
    }

    [Fact]
    public async Task What_is_only_here_for_builds_goes_when_no_build_needs_it()
    {
        await using var behind = await FrontServer.OpenAsync();
        await using var front = await FrontServer.StartAsync(
            behind.Url,
            f => f with { Keep = TimeSpan.Zero },
            o =>
                o with
                {
                    Collection = o.Collection with
                    {
                        Grace = TimeSpan.Zero,
                        BytesGrace = TimeSpan.Zero,
                        KeepJobs = TimeSpan.Zero,
                        KeepLogs = TimeSpan.Zero,
                    },
                }
        );
        using (await front.PushRecipeAsync("1.0.recipe", null, await front.RecipeLayerAsync())) { }
        await front.Node.SucceedAsync(await front.Node.ClaimAsync());
        var job = await FrontServer.UntilAsync(front, (await front.JobsAsync())[0].Id, j => j.Done);
        Assert.Equal(BuildStates.Succeeded, job.State);
        for (var i = 0; i < 6; i++)
        {
            using var collected = await front.Http.PostAsync(new Uri("/admin/v1/gc", UriKind.Relative), null, Cancel);
            Assert.True(collected.IsSuccessStatusCode, await collected.Content.ReadAsStringAsync(Cancel));
            await collected.Content.ReadAsStringAsync(Cancel);
        }

        Assert.Empty(
            Directory.EnumerateFiles(Path.Combine(front.DataDirectory, "blobs"), "*", SearchOption.AllDirectories)
        );
        await FrontServer.ShouldHaveAsync(behind.Http, Repository, job, "1.0");
    }
}
