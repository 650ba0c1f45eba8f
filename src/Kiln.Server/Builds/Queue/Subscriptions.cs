using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>What jobs wait for, and how they stop waiting.</summary>
internal sealed class Subscriptions(Executions executions)
{
    /// <summary>Gives up what a job still waits for; what nobody else waits for is ended.</summary>
    public void Leave(DbTransaction transaction, string job)
    {
        foreach (var task in TaskRow.Of(transaction.Connection!, job))
        {
            var execution = task.Execution;
            if (task.Left || BuildStates.IsDone(execution.State))
            {
                continue;
            }

            var others = Executions
                .Subscribers(transaction.Connection!, execution.Id, all: false)
                .Exists(other => other != job);
            if (others)
            {
                transaction.Run(
                    "UPDATE job_tasks SET departed = 1 WHERE job = @job AND ordinal = @ordinal",
                    ("job", job),
                    ("ordinal", task.Ordinal)
                );
            }
            else
            {
                executions.Move(transaction, execution.Id, ExecutionEvent.Unwanted, ExecutionOutcome.None);
            }
        }
    }
}
