using Kiln.BuildSpec;

namespace Kiln.Tests.Builds;

/// <summary>Leases of the node inside the server, which ends with it.</summary>
public sealed class LocalLeaseTests : LeaseContract
{
    protected override bool Remote => false;

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
}
