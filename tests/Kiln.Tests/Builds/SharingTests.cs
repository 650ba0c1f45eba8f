using System.Net;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Tests.Builds;

/// <summary>Identical requests: shared while one runs, answered afterwards, never a failure.</summary>
public sealed class SharingTests
{
    [Fact]
    public async Task Identical_requests_share_the_execution_and_not_the_job()
    {
        await using var server = await BuildServer.StartAsync();
        var first = await server.SubmitAsync("?tag=1.0");
        var second = await server.SubmitAsync("?tag=2.0");
        Assert.NotEqual(first.Id, second.Id);
        Assert.Equal(first.Tasks[0].Execution, second.Tasks[0].Execution);
        Assert.True(second.Tasks[0].Shared);

        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        Assert.Null(await server.Node.TryClaimAsync());
        Assert.All(
            [await server.GetAsync(first.Id), await server.GetAsync(second.Id)],
            job => Assert.Equal(BuildStates.Succeeded, job.State)
        );
        Assert.Equal(
            (await server.TagAsync("1.0"))!.Manifests[0].Digest,
            (await server.TagAsync("2.0"))!.Manifests[0].Digest
        );
    }

    [Fact]
    public async Task An_identical_request_afterwards_is_answered_at_once_and_moves_its_tags()
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        using var response = await server.PostAsync("?tag=3.0");
        var job = await BuildServer.ReadAsync(response);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal((BuildStates.Succeeded, true), (job.State, job.Cached));
        Assert.Equal(["3.0"], job.Result!.Tags);
        Assert.NotNull(await server.TagAsync("3.0"));
        Assert.Contains("attempt 1", await server.LogAsync(job.Id));
    }

    [Theory]
    [InlineData("?tag=1.0&cache=none")]
    [InlineData("?tag=1.0&arg.X=1")]
    [InlineData("?tag=1.0&network=none")]
    [InlineData("?tag=1.0&label.a=b")]
    [InlineData("?tag=1.0&sourcedate=1")]
    [InlineData("?tag=1.0&platform=linux/arm64")]
    public async Task Another_request_is_built(string query)
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());

        Assert.Equal(BuildStates.Queued, (await server.SubmitAsync(query)).State);
    }

    [Fact]
    public async Task A_result_that_is_too_old_is_built_again()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        server.Time!.Advance(TimeSpan.FromHours(1));
        Assert.True((await server.SubmitAsync("?tag=1.0&maxage=3601")).Cached);
        Assert.False((await server.SubmitAsync("?tag=1.0&maxage=3599")).Done);
    }

    [Fact]
    public async Task A_result_whose_product_was_deleted_is_built_again()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync());
        var result = (await server.GetAsync(job.Id)).Result!;
        await DeleteAsync(server, result.Manifest.Digest);
        await DeleteAsync(server, result.Outputs[0].Manifest.Digest);

        Assert.Equal(BuildStates.Queued, (await server.SubmitAsync("?tag=1.0")).State);
    }

    [Fact]
    public async Task Nothing_joins_a_build_without_cache()
    {
        await using var server = await BuildServer.StartAsync();
        var alone = await server.SubmitAsync("?tag=1.0&cache=none");
        var other = await server.SubmitAsync("?tag=1.0");
        Assert.NotEqual(alone.Tasks[0].Execution, other.Tasks[0].Execution);

        var lease = await server.Node.ClaimAsync();
        Assert.False(lease.Task.UseStepCache);
        await server.Node.SucceedAsync(lease);
        Assert.Equal(BuildStates.Queued, (await server.GetAsync(other.Id)).State);
    }

    [Fact]
    public async Task A_cancelled_job_leaves_a_shared_build_to_the_other()
    {
        await using var server = await BuildServer.StartAsync();
        var first = await server.SubmitAsync("?tag=1.0");
        var second = await server.SubmitAsync("?tag=2.0");
        var lease = await server.Node.ClaimAsync();

        Assert.Equal(BuildStates.Canceled, (await CancelAsync(server, first)).State);
        Assert.False(await IsCanceledAsync(server, lease));
        await server.Node.SucceedAsync(lease);
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(second.Id)).State);
        Assert.Null(await server.TagAsync("1.0"));
        Assert.NotNull(await server.TagAsync("2.0"));
    }

    [Fact]
    public async Task The_last_subscribers_cancel_ends_the_build()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        Assert.Equal(BuildStates.Canceling, (await CancelAsync(server, job)).State);
        Assert.True(await IsCanceledAsync(server, lease));

        var next = await server.SubmitAsync("?tag=1.0");
        Assert.NotEqual(job.Tasks[0].Execution, next.Tasks[0].Execution);

        // Even a product that comes now is not published: nobody wants it any more.
        await server.Node.SucceedAsync(lease);
        Assert.Equal(BuildStates.Canceled, (await server.GetAsync(job.Id)).State);
        Assert.Null(await server.TagAsync("1.0"));
        Assert.Equal(BuildStates.Canceled, (await CancelAsync(server, job)).State);
    }

    [Fact]
    public async Task A_queued_job_is_cancelled_at_once()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await CancelAsync(server, await server.SubmitAsync("?tag=1.0"));

        Assert.Equal((BuildStates.Canceled, true), (job.State, job.Done));
        Assert.Null(await server.Node.TryClaimAsync());
    }

    private static async Task<Job> CancelAsync(BuildServer server, Job job)
    {
        using var response = await server.Http.DeleteAsync(BuildServer.JobUri(job.Id));
        return await BuildServer.ReadAsync(response);
    }

    private static async Task<bool> IsCanceledAsync(BuildServer server, Lease lease) =>
        (
            await server.Coordinator.HeartbeatAsync(lease, new LeaseHeartbeat(), TestContext.Current.CancellationToken)
        ).Canceled;

    private static async Task DeleteAsync(BuildServer server, Digest digest)
    {
        using var response = await server.Http.DeleteAsync(
            new Uri($"{BuildServer.Repository}/manifests/{digest}", UriKind.Relative)
        );
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
    }
}
