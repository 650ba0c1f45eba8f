using Kiln.BuildSpec;

namespace Kiln.Tests.Builds;

/// <summary>Two servers on one database: who waits on one of them hears what the other commits.</summary>
public sealed class ReplicaTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task A_log_is_followed_on_one_server_while_the_other_builds()
    {
        var (one, two) = await StartBothAsync();
        await using var first = one;
        await using var second = two;
        var job = await one.SubmitAsync("");

        var following = two.LogAsync(job.Id, "?follow=1");
        var lease = await one.Node.ClaimAsync();
        await one.Node.LogAsync(lease, "from the other\n");
        Assert.False(following.IsCompleted);
        await one.Node.SucceedAsync(lease);

        Assert.EndsWith("from the other\n", await following.WaitAsync(Patience), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_node_that_waits_beside_one_server_gets_what_the_other_was_asked_for()
    {
        var (one, two) = await StartBothAsync();
        await using var first = one;
        await using var second = two;

        var waiting = two.Node.TryClaimAsync(wait: TimeSpan.FromMinutes(1));
        var job = await one.SubmitAsync("?tag=1");
        var lease = await waiting.WaitAsync(Patience);
        Assert.NotNull(lease);
        await two.Node.SucceedAsync(lease);

        Assert.Equal(BuildStates.Succeeded, (await one.GetAsync(job.Id)).State);
        Assert.NotNull(await one.TagAsync("1"));
    }

    [Fact]
    public async Task No_work_is_given_out_twice()
    {
        var (one, two) = await StartBothAsync();
        await using var first = one;
        await using var second = two;
        for (var i = 0; i < 20; i++)
        {
            await one.SubmitAsync("", $"FROM scratch\nLABEL n={i}\n");
        }

        var claims = await Task.WhenAll(
            Enumerable.Range(0, 30).Select(i => Task.Run(() => (i % 2 == 0 ? one : two).Node.TryClaimAsync()))
        );

        var executions = claims.OfType<Lease>().Select(lease => lease.Execution).ToList();
        Assert.Equal(20, executions.Count);
        Assert.Equal(20, executions.Distinct(StringComparer.Ordinal).Count());
    }

    private static async Task<(BuildServer One, BuildServer Two)> StartBothAsync()
    {
        var postgres = TestState.RequirePostgres();
        var address = postgres.NewAddress();
        Task<BuildServer> Start() =>
            BuildServer.StartAsync(options: o =>
                o with
                {
                    Database = address,
                    DatabasePasswordFile = postgres.PasswordFile,
                }
            );
        return (await Start(), await Start());
    }
}
