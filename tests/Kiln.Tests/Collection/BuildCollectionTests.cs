using System.Net;
using Kiln.BuildSpec;
using Kiln.Client.Administration;
using Kiln.Server;
using Kiln.Server.Metadata;
using Kiln.Tests.Builds;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Collection;

/// <summary>What stays of builds, and what the operator's rules do to them.</summary>
public sealed class BuildCollectionTests
{
    [Fact]
    public async Task A_build_under_way_keeps_its_recipe_its_context_and_what_it_has_published()
    {
        await using var server = await StartAsync();
        var job = await server.SubmitAsync("?tag=1&platform=linux/amd64&platform=linux/arm64");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        await CollectAsync(server);
        await server.Node.SucceedAsync(await server.Node.ClaimAsync(), "other");

        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
        await CollectAsync(server);
        var index = await server.TagAsync("1");
        Assert.Equal(2, index!.Manifests.Count);
        foreach (var child in index.Manifests)
        {
            Assert.Equal(
                HttpStatusCode.OK,
                await server.Http.StatusAsync("GET", $"{BuildServer.Repository}/manifests/{child.Digest}")
            );
        }
    }

    [Fact]
    public async Task A_job_stays_with_its_recipe_and_log_while_its_image_does_and_goes_with_it()
    {
        await using var server = await StartAsync();
        var job = await server.SubmitAsync("?tag=1");
        var lease = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lease, "step one\n");
        await server.Node.SucceedAsync(lease);
        var recipe = $"{BuildServer.Repository}/manifests/{job.Recipe.Digest}";

        await CollectAsync(server);
        Assert.Contains("step one", await server.LogAsync(job.Id), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", recipe));

        await server.Http.StatusAsync("DELETE", $"{BuildServer.Repository}/manifests/1");
        await CollectAsync(server);
        Assert.Equal(
            HttpStatusCode.NotFound,
            await server.Http.StatusAsync("GET", $"{BuildServer.Repository}/_build/v1/jobs/{job.Id}")
        );
        Assert.Equal(HttpStatusCode.NotFound, await server.Http.StatusAsync("GET", recipe));
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(server.DataDirectory, "blobs"), "*", Everywhere));
    }

    [Fact]
    public async Task A_dry_run_leaves_what_ran_for_jobs_that_are_gone()
    {
        await using var server = await StartAsync();
        await server.SubmitAsync("?tag=1");
        var lease = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lease, "step one\n");
        await server.Node.SucceedAsync(lease);
        await server.Http.StatusAsync("DELETE", $"{BuildServer.Repository}/manifests/1");
        var database = server.Services.GetRequiredService<Database>();
        (long, long) Rows() =>
            database.Read(c =>
                (
                    c.Scalar<long>(
                        "SELECT COUNT(*) FROM executions e LEFT JOIN job_tasks t ON t.execution = e.id WHERE t.job IS NULL"
                    ),
                    c.Scalar<long>("SELECT COUNT(*) FROM log_segments")
                )
            );
        for (var i = 0; i < 20 && Rows().Item1 == 0; i++)
        {
            await CollectedServer.DrainAsync(server.Services);
            await CollectedServer.CollectAsync(server.Http);
        }

        var before = Rows();
        Assert.True(before is (1, > 0), $"{before}");
        await CollectedServer.CollectAsync(server.Http, dryRun: true);

        Assert.Equal(before, Rows());
        await CollectedServer.CollectAsync(server.Http);
        Assert.Equal((0L, 0L), Rows());
    }

    [Fact]
    public async Task The_recipe_of_a_refused_request_goes()
    {
        await using var server = await StartAsync();
        using (var refused = await server.PostAsync("?tag=1&secret.s=nosuch"))
        {
            await refused.ShouldFailAsync(404, "BUILD_SECRET_UNKNOWN");
        }

        await CollectAsync(server);

        var left = Directory.EnumerateFiles(Path.Combine(server.DataDirectory, "blobs"), "*", Everywhere);
        // "{}" may be anybody's.
        Assert.DoesNotContain(left, file => new FileInfo(file).Length > 2);
    }

    [Fact]
    public async Task A_build_for_an_immutable_tag_is_refused_before_it_runs_and_again_when_it_is_done()
    {
        await using var server = await BuildServer.StartAsync(options: options =>
            options with
            {
                Immutability = new ImmutabilityOptions
                {
                    Rules = [new ImmutabilityRule { Repositories = ["**"], Tags = ["v*"] }],
                },
            }
        );
        var early = await server.SubmitAsync("?tag=v1&tag=latest");
        await server.Http.PushAsync(BuildServer.Repository, Samples.Image(), "v1");
        using var refused = await server.PostAsync("?tag=v1&arg.A=1");
        await refused.ShouldFailAsync(409, "DENIED");

        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        var job = await server.GetAsync(early.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.PolicyDenied), (job.State, job.Reason));
        Assert.Contains("immutable", job.Message, StringComparison.Ordinal);
        Assert.Null(await server.TagAsync("latest"));
    }

    [Fact]
    public async Task A_product_beyond_the_quota_fails_its_job_and_is_not_there()
    {
        await using var server = await BuildServer.StartAsync(options: options =>
            options with
            {
                Quotas = new QuotaOptions { Rules = [new QuotaRule { Repositories = ["**"], MaxBytes = 1200 }] },
            }
        );
        var job = await server.SubmitAsync("?tag=1");
        var lease = await server.Node.ClaimAsync();
        var content = Convert.ToBase64String(Samples.Bytes(3000));

        await server.Node.SucceedAsync(lease, content);

        job = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.PolicyDenied), (job.State, job.Reason));
        Assert.Contains("1200 bytes", job.Message, StringComparison.Ordinal);
        Assert.Null(await server.TagAsync("1"));
    }

    private static readonly EnumerationOptions Everywhere = new() { RecurseSubdirectories = true };

    // So that everything that nothing keeps goes within a few collections.
    private static Task<BuildServer> StartAsync() =>
        BuildServer.StartAsync(options: options =>
            options with
            {
                Collection = options.Collection with
                {
                    Enabled = false,
                    Pause = TimeSpan.Zero,
                    Grace = TimeSpan.Zero,
                    BytesGrace = TimeSpan.Zero,
                    KeepUntagged = TimeSpan.Zero,
                    KeepJobs = TimeSpan.Zero,
                    KeepNewestJobs = 0,
                    KeepLogs = null,
                },
            }
        );

    private static async Task CollectAsync(BuildServer server)
    {
        for (var i = 0; i < 8; i++)
        {
            await CollectedServer.DrainAsync(server.Services);
            await CollectedServer.CollectAsync(server.Http);
        }
    }
}
