using Kiln.BuildSpec;
using Kiln.Server.Metadata;
using Microsoft.Extensions.DependencyInjection;

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
        await RunAsync(server, "ALTER TABLE secrets RENAME TO secrets_away");
        await Assert.ThrowsAnyAsync<Exception>(() => server.Sweep.SweepAsync(Cancel));
        server.Time!.Advance(TimeSpan.FromSeconds(61));
        // The round runs on the server's own thread; nothing is sooner over than the next request's own transaction.
        await RunAsync(server, "ALTER TABLE secrets_away RENAME TO secrets");

        for (var i = 0; i < 100 && !(await server.GetAsync(job.Id)).Done; i++)
        {
            server.Time.Advance(TimeSpan.FromSeconds(5));
            await Task.Yield();
        }

        Assert.Equal(FailureReasons.QueueExpired, (await server.GetAsync(job.Id)).Reason);
    }

    private static Task RunAsync(BuildServer server, string sql) =>
        server.Services.GetRequiredService<Database>().WriteAsync(transaction => transaction.Run(sql), Cancel);
}
