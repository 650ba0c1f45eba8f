using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server;

namespace Kiln.Tests.Builds;

/// <summary>
/// What every coordinator promises: expiry, fencing, attempts, fairness. The same for the node inside the server and for
/// one elsewhere.
/// </summary>
public abstract class LeaseContract
{
    /// <summary>Whether the node is elsewhere, and speaks HTTP.</summary>
    protected abstract bool Remote { get; }

    private protected static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_lease_without_heartbeat_is_lost_and_the_build_taken_again()
    {
        await using var server = await StartAsync(fakeTime: true);
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
        await using var server = await StartAsync(b => b with { MaxAttempts = 2 }, fakeTime: true);
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
        await using var server = await StartAsync(b => b with { MaxAttempts = 1 }, fakeTime: true);
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        await server.Coordinator.GiveBackAsync(lease, Cancel);
        await EveryWordIsRefusedAsync(server, lease);

        Assert.Equal(1, (await server.Node.ClaimAsync()).Attempt);
    }

    [Fact]
    public async Task The_same_result_again_is_accepted_and_another_is_not()
    {
        await using var server = await StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var result = await server.Node.SucceedAsync(lease);

        await server.Node.CompleteAsync(lease, result);
        var refused = await Assert.ThrowsAnyAsync<Exception>(() => server.Node.FailAsync(lease));
        Assert.Equal(
            BuildErrors.StateInvalid.Code,
            refused is OciException local ? local.Error.Code.Code : ((RegistryException)refused).Code
        );
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
    }

    [Fact]
    public async Task Nobody_claims_what_they_cannot_build_and_only_one_gets_each()
    {
        await using var server = await StartAsync();
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
        await using var server = await StartAsync();
        var waiting = server.Node.TryClaimAsync(wait: TimeSpan.FromMinutes(2));
        var job = await server.SubmitAsync("?tag=1.0");

        Assert.Equal(job.Tasks[0].Execution, (await waiting)!.Execution);
    }

    [Fact]
    public async Task What_nobody_takes_in_time_fails()
    {
        await using var server = await StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0&queue=60");
        server.Time!.Advance(TimeSpan.FromSeconds(61));
        await server.Sweep.SweepAsync(Cancel);

        Assert.Equal(FailureReasons.QueueExpired, (await server.GetAsync(job.Id)).Reason);
    }

    [Fact]
    public async Task Who_joins_a_build_that_waits_may_wait_longer_than_who_came_first()
    {
        await using var server = await StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0&queue=60");
        server.Time!.Advance(TimeSpan.FromSeconds(50));
        var joined = await server.SubmitAsync("?tag=1.0&queue=600");
        Assert.Equal(job.Tasks[0].Execution, joined.Tasks[0].Execution);

        server.Time.Advance(TimeSpan.FromSeconds(61));
        await server.Sweep.SweepAsync(Cancel);
        Assert.Equal(BuildStates.Queued, (await server.GetAsync(joined.Id)).State);

        server.Time.Advance(TimeSpan.FromSeconds(600));
        await server.Sweep.SweepAsync(Cancel);
        Assert.Equal(FailureReasons.QueueExpired, (await server.GetAsync(joined.Id)).Reason);
    }

    [Fact]
    public async Task What_comes_back_into_the_queue_waits_anew_and_each_time_no_longer()
    {
        await using var server = await StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0&queue=60");
        for (var i = 0; i < 3; i++)
        {
            server.Time!.Advance(TimeSpan.FromSeconds(40));
            await server.Coordinator.GiveBackAsync(await server.Node.ClaimAsync(), Cancel);
        }

        server.Time!.Advance(TimeSpan.FromSeconds(61));
        await server.Sweep.SweepAsync(Cancel);
        Assert.Equal(FailureReasons.QueueExpired, (await server.GetAsync(job.Id)).Reason);
    }

    [Fact]
    public async Task Progress_stands_in_the_job()
    {
        await using var server = await StartAsync();
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

    [Fact]
    public async Task A_product_that_is_refused_is_the_end_of_the_attempt_and_not_of_the_job()
    {
        await using var server = await StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.SucceedAsync(await server.Node.ClaimAsync(), platform: new Platform("linux", "s390x"));
        Assert.Equal(BuildStates.Queued, (await server.GetAsync(job.Id)).State);
        Assert.Contains("the product was refused", await server.LogAsync(job.Id));

        server.Time!.Advance(TimeSpan.FromSeconds(5));
        var lease = await server.Node.ClaimAsync();
        Assert.Equal(2, lease.Attempt);
        await server.Node.SucceedAsync(lease);
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
    }

    [Fact]
    public async Task A_node_that_gives_everything_back_uses_up_attempts_in_the_end()
    {
        await using var server = await StartAsync(b => b with { MaxAttempts = 1 }, fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0");
        for (var i = 0; i < 11; i++)
        {
            server.Time!.Advance(TimeSpan.FromSeconds(5));
            await server.Coordinator.GiveBackAsync(await server.Node.ClaimAsync(), Cancel);
        }

        Assert.Equal(FailureReasons.AttemptsExhausted, (await server.GetAsync(job.Id)).Reason);
    }

    [Fact]
    public async Task A_fault_while_a_result_is_taken_leaves_the_lease_to_be_told_again()
    {
        await using var server = await StartAsync();
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        var result = new LeaseResult
        {
            State = BuildStates.Succeeded,
            Manifest = await server.Node.PushImageAsync(lease, "hello", lease.Task.Platform),
        };
        await server.BreakAsync("layer_facts");
        var before = await server.LeaseExpiresAsync(lease);
        using var soon = new CancellationTokenSource(TimeSpan.FromSeconds(3));
        await Assert.ThrowsAnyAsync<Exception>(() => server.Coordinator.CompleteAsync(lease, result, soon.Token));
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (await server.LeaseExpiresAsync(lease) > before + 60_000)
        {
            // Whoever tells a result over HTTP may give up before the server comes to the fault.
            await Task.Delay(20, patience.Token);
        }

        Assert.True(await server.LeaseExpiresAsync(lease) >= before);
        await server.MendAsync("layer_facts");

        Assert.True(await server.Coordinator.CompleteAsync(lease, result, Cancel));
        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
    }

    [Fact]
    public async Task A_blob_that_the_registry_has_need_not_be_pushed()
    {
        await using var server = await StartAsync();
        await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        await using var recipe = await server.Coordinator.OpenBlobAsync(lease, lease.Task.Recipe.Digest, Cancel);
        using var reader = new StreamReader(recipe!);
        Assert.Equal(BuildServer.Containerfile, await reader.ReadToEndAsync(Cancel));
        Assert.True(await server.Coordinator.HasBlobAsync(lease, lease.Task.Recipe.Digest, Cancel));
        Assert.False(await server.Coordinator.HasBlobAsync(lease, Digest.Of("no"u8), Cancel));
        var (digest, size) = await server.Coordinator.PushBlobAsync(
            lease,
            async (stream, cancel) => await stream.WriteAsync("yes"u8.ToArray(), cancel),
            Cancel
        );
        Assert.Equal((Digest.Of("yes"u8), 3L), (digest, size));
        Assert.True(await server.Coordinator.HasBlobAsync(lease, digest, Cancel));
    }

    private protected Task<BuildServer> StartAsync(
        Func<BuildOptions, BuildOptions>? change = null,
        bool fakeTime = false
    ) => BuildServer.StartAsync(change, fakeTime, remote: Remote);

    private protected static async Task EveryWordIsRefusedAsync(BuildServer server, Lease lease)
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
