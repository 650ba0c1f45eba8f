using System.Data.Common;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Leases;

/// <summary>What becomes of an execution whose attempt came to nothing: another one, or none any more.</summary>
internal sealed class Attempts(
    Executions executions,
    Settlement settlement,
    LeaseLog pieces,
    BuildLog log,
    BuildOptions options,
    TimeProvider time
)
{
    private const int RetryDelaySeconds = 2;

    // A node that takes work and gives it back, over and over, is as good as one that loses it.
    private const int MaxReturns = 10;

    /// <summary>
    /// Takes an execution away from its lease: back into the queue, or failed when its attempts are used up.
    /// </summary>
    public void Lose(DbTransaction transaction, ExecutionRow row, string why)
    {
        pieces.Finish(transaction, row, LeaseRow.Find(transaction.Connection!, row.Lease!));
        log.Append(transaction, row.Id, Encoding.UTF8.GetBytes($"[{why}]\n"));
        var (what, outcome) = Again(row, new ExecutionOutcome { Message = why });
        executions.Move(transaction, row.Id, what, outcome);
        settlement.SettleSubscribers(transaction, row.Id);
    }

    /// <summary>Puts an execution back as its node asks, which uses up no attempt unless that happens all the time.</summary>
    public void GiveBack(DbTransaction transaction, ExecutionRow row)
    {
        pieces.Finish(transaction, row, LeaseRow.Find(transaction.Connection!, row.Lease!));
        var returns = transaction.Scalar<long>(
            "UPDATE executions SET returns = returns + 1 WHERE id = @id RETURNING returns",
            ("id", row.Id)
        );
        if (returns <= MaxReturns)
        {
            var outcome = new ExecutionOutcome { CountsAttempt = false };
            executions.Move(transaction, row.Id, ExecutionEvent.Returned, outcome);
        }
        else
        {
            var (what, outcome) = Again(
                row,
                new ExecutionOutcome { Message = $"build nodes gave it back {returns} times" }
            );
            executions.Move(transaction, row.Id, what, outcome);
        }

        settlement.SettleSubscribers(transaction, row.Id);
    }

    /// <summary>The next attempt, after a while; or the end, where there is none left.</summary>
    public (ExecutionEvent What, ExecutionOutcome Outcome) Again(ExecutionRow row, ExecutionOutcome outcome)
    {
        if (row.Cancel || row.Attempt < options.MaxAttempts)
        {
            var delay = row.Attempt * RetryDelaySeconds * 1000L;
            return (ExecutionEvent.Returned, outcome with { NotBefore = time.Milliseconds() + delay });
        }

        if (outcome.Reason == FailureReasons.ResultInvalid)
        {
            return (ExecutionEvent.Failed, outcome);
        }

        var message = $"given up after {row.Attempt} attempts; the last one: {outcome.Message}";
        return (ExecutionEvent.Failed, outcome with { Reason = FailureReasons.AttemptsExhausted, Message = message });
    }
}
