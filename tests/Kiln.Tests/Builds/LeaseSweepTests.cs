using Kiln.BuildSpec;

namespace Kiln.Tests.Builds;

/// <summary>The rounds that end what time has ended.</summary>
public sealed class LeaseSweepTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_database_fault_in_one_round_is_made_up_for_by_the_next()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true);
        var job = await server.SubmitAsync("?tag=1.0&queue=60");
        await server.BreakAsync("secrets");
        await Assert.ThrowsAnyAsync<Exception>(() => server.Sweep.SweepAsync(Cancel));
        server.Time!.Advance(TimeSpan.FromSeconds(61));
        // The round runs on the server's own thread; nothing is sooner over than the next request's own transaction.
        await server.MendAsync("secrets");

        for (var i = 0; i < 100 && !(await server.GetAsync(job.Id)).Done; i++)
        {
            server.Time.Advance(TimeSpan.FromSeconds(5));
            await Task.Yield();
        }

        Assert.Equal(FailureReasons.QueueExpired, (await server.GetAsync(job.Id)).Reason);
    }
}
