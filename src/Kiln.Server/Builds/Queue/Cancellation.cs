using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// Cancels jobs. A job only gives up its own subscription; an execution ends when its last subscriber does, so that
/// another job that shares it goes on.
/// </summary>
internal sealed class Cancellation(
    Database database,
    Subscriptions subscriptions,
    Settlement settlement,
    Wakeups wakeups,
    IProductsBehind? behind = null
)
{
    /// <summary>Cancels a job; one that is done stays as it is.</summary>
    public Task CancelAsync(string job, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var row = JobRow.Find(transaction.Connection!, job);
                if (
                    row is null
                    || BuildStates.IsDone(row.State)
                    || row.State == BuildStates.Canceling
                    || behind?.IsMovingTags(transaction.Connection!, job) is true
                )
                {
                    return;
                }

                transaction.Run(
                    "UPDATE jobs SET state = 'canceling', revision = revision + 1 WHERE id = @job",
                    ("job", job)
                );
                wakeups.AfterCommit(transaction, Wakeups.Job(job));
                subscriptions.Leave(transaction, job);
                settlement.Settle(transaction, job);
            },
            cancel
        );
}
