using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;

namespace Kiln.Tests.Builds;

/// <summary>The lease protocol: expiry, fencing, attempts, fairness, restart.</summary>
public sealed class LeaseTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_lease_without_heartbeat_is_lost_and_the_build_taken_again()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0");
        var lost = await server.Node.ClaimAsync();
        server.Time!.Advance(TimeSpan.FromSeconds(29));
        await server.Coordinator.HeartbeatAsync(lost, new LeaseHeartbeat { Phase = "building" }, Cancel);
        server.Time.Advance(TimeSpan.FromSeconds(29));
        await server.Sweep.SweepAsync(Cancel);
        Assert.Equal(BuildStates.Running, (await server.GetAsync(job.Id)).State);

        server.Time.Advance(TimeSpan.FromSeconds(2));
        await EveryWordIsRefusedAsync(server, lost);
        await server.Sweep.SweepAsync(Cancel);
        server.Time.Advance(TimeSpan.FromSeconds(5));
        var lease = await server.Node.ClaimAsync();
        Assert.Equal((lost.Execution, 2), (lease.Execution, lease.Attempt));
        Assert.NotEqual(lost.Id, lease.Id);

        await EveryWordIsRefusedAsync(server, lost);
        await server.Node.SucceedAsync(lease);
        await EveryWordIsRefusedAsync(server, lost);
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
        var log = await server.LogAsync(job.Id);
        Assert.Contains("not heard of", log);
        Assert.Contains("# attempt 2", log);
    }

    [Fact]
    public async Task Attempts_run_out()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxAttempts = 2 }, fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.FailAsync(await server.Node.ClaimAsync(), FailureReasons.SystemError, retryable: true);
        Assert.Equal(BuildStates.Queued, (await server.GetAsync(job.Id)).State);
        Assert.Null(await server.Node.TryClaimAsync());

        server.Time!.Advance(TimeSpan.FromSeconds(3));
        await server.Node.FailAsync(await server.Node.ClaimAsync(), FailureReasons.SystemError, retryable: true);
        var failed = await server.GetAsync(job.Id);
        Assert.Equal((BuildStates.Failed, FailureReasons.AttemptsExhausted), (failed.State, failed.Reason));
        Assert.Contains("RUN make exited 2", failed.Message);
    }

    [Fact]
    public async Task Giving_back_uses_up_no_attempt()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxAttempts = 1 }, fakeTime: true);
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        await server.Coordinator.GiveBackAsync(lease, Cancel);
        await EveryWordIsRefusedAsync(server, lease);

        Assert.Equal(1, (await server.Node.ClaimAsync()).Attempt);
    }

    [Fact]
    public async Task The_same_result_again_is_accepted_and_another_is_not()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var result = await server.Node.SucceedAsync(lease);

        await server.Node.CompleteAsync(lease, result);
        var refused = await Assert.ThrowsAsync<OciException>(() => server.Node.FailAsync(lease));
        Assert.Equal(BuildErrors.StateInvalid, refused.Error.Code);
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
    }

    [Fact]
    public async Task Nobody_claims_what_they_cannot_build_and_only_one_gets_each()
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?tag=1.0&platform=linux/arm64");
        var offer = new LeaseClaim
        {
            Node = "amd",
            Platforms = ["linux/amd64"],
            Recipes = [RecipeTypes.Dockerfile],
            Outputs = [BuildOutput.Oci],
        };
        Assert.Null(await server.Node.TryClaimAsync(offer));
        Assert.Null(await server.Node.TryClaimAsync(offer with { Platforms = ["linux/arm64"], Recipes = ["spack"] }));

        for (var i = 0; i < 19; i++)
        {
            await server.SubmitAsync($"?arg.N={i}");
        }

        var leases = await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => server.Node.TryClaimAsync()));
        Assert.Equal(20, leases.Where(l => l is not null).Select(l => l!.Execution).Distinct().Count());
        Assert.Equal(20, leases.Count(l => l is not null));
    }

    [Fact]
    public async Task A_waiting_node_is_woken_by_a_request()
    {
        await using var server = await BuildServer.StartAsync();
        var waiting = server.Node.TryClaimAsync(wait: TimeSpan.FromSeconds(20));
        var job = await server.SubmitAsync("?tag=1.0");

        Assert.Equal(job.Tasks[0].Execution, (await waiting)!.Execution);
    }

    [Fact]
    public async Task What_nobody_takes_in_time_fails()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0&queue=60");
        server.Time!.Advance(TimeSpan.FromSeconds(61));
        await server.Sweep.SweepAsync(Cancel);

        Assert.Equal(FailureReasons.QueueExpired, (await server.GetAsync(job.Id)).Reason);
    }

    [Fact]
    public async Task A_build_that_ran_when_the_server_died_runs_again_and_loses_nothing()
    {
        await using var server = await BuildServer.StartAsync();
        var running = await server.SubmitAsync("?tag=1.0");
        var queued = await server.SubmitAsync("?tag=2.0&arg.N=1");
        var lost = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lost, "half\n");
        await server.Node.PushImageAsync(lost, "hello", lost.Task.Platform);

        await server.RestartAsync();
        Assert.Equal(BuildStates.Queued, (await server.GetAsync(running.Id)).State);
        await EveryWordIsRefusedAsync(server, lost);
        Assert.Null(await server.TagAsync("1.0"));

        var leases = new[] { await server.Node.ClaimAsync(), await server.Node.ClaimAsync() };
        Assert.Equal([2, 1], leases.Select(l => l.Attempt));
        foreach (var lease in leases)
        {
            await server.Node.SucceedAsync(lease, lease.Id);
        }

        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(running.Id)).State);
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(queued.Id)).State);
        Assert.NotNull(await server.TagAsync("1.0"));
        Assert.Contains("half\n", await server.LogAsync(running.Id));
    }

    [Fact]
    public async Task Too_many_restarts_fail_the_build_and_a_cancel_survives_one()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxAttempts = 1 });
        var exhausted = await server.SubmitAsync("?arg.N=1");
        var canceled = await server.SubmitAsync("?arg.N=2");
        await server.Node.ClaimAsync();
        await server.Node.ClaimAsync();
        using var response = await server.Http.DeleteAsync(BuildServer.JobUri(canceled.Id));

        await server.RestartAsync();
        Assert.Equal(FailureReasons.AttemptsExhausted, (await server.GetAsync(exhausted.Id)).Reason);
        Assert.Equal(BuildStates.Canceled, (await server.GetAsync(canceled.Id)).State);
    }

    [Fact]
    public async Task Progress_stands_in_the_job()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var step = new BuildStep
        {
            Number = 1,
            Total = 2,
            Text = "RUN make",
        };
        var beat = new LeaseHeartbeat
        {
            Phase = BuildPhases.Building,
            Progress = "step 1/2: RUN make",
            Steps = [step],
        };
        await server.Coordinator.HeartbeatAsync(lease, beat, Cancel);

        var now = await server.GetAsync(job.Id);
        Assert.Equal((BuildPhases.Building, "step 1/2: RUN make"), (now.Tasks[0].Phase, now.Tasks[0].Progress));
        Assert.Equal([step], now.Tasks[0].Steps!);
        await server.Coordinator.HeartbeatAsync(lease, beat, Cancel);
        Assert.Equal(now.Revision, (await server.GetAsync(job.Id)).Revision);
    }

    private static async Task EveryWordIsRefusedAsync(BuildServer server, Lease lease)
    {
        await Assert.ThrowsAsync<LeaseLostException>(() =>
            server.Coordinator.HeartbeatAsync(lease, new LeaseHeartbeat(), Cancel)
        );
        await Assert.ThrowsAsync<LeaseLostException>(() => server.Node.LogAsync(lease, "late\n"));
        await Assert.ThrowsAsync<LeaseLostException>(() => server.Node.FailAsync(lease));
        await Assert.ThrowsAsync<LeaseLostException>(() => server.Coordinator.GiveBackAsync(lease, Cancel));
        await Assert.ThrowsAsync<LeaseLostException>(() =>
            server.Node.PushImageAsync(lease, "late", Platform.LinuxAmd64)
        );
        await Assert.ThrowsAsync<LeaseLostException>(() =>
            server.Coordinator.OpenBlobAsync(lease, lease.Task.Recipe.Digest, Cancel)
        );
        await Assert.ThrowsAsync<LeaseLostException>(() =>
            server.Coordinator.HasBlobAsync(lease, lease.Task.Recipe.Digest, Cancel)
        );
    }
}
