using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// The rows of executions, and the one place where their state changes. Whoever subscribes to an execution that changes
/// gets a new revision and is woken.
/// </summary>
internal sealed class Executions(Wakeups wakeups, TimeProvider time)
{
    public static ExecutionRow? Find(DbConnection connection, string id) =>
        connection
            .Query($"SELECT {ExecutionRow.Columns} FROM executions WHERE id = @id", ExecutionRow.Map, ("id", id))
            .FirstOrDefault();

    /// <summary>
    /// Moves an execution by <paramref name="what"/> and writes what came of it.
    /// </summary>
    /// <returns>The new state; null where this cannot happen (any more).</returns>
    public string? Move(DbTransaction transaction, string id, ExecutionEvent what, ExecutionOutcome outcome)
    {
        var row = Find(transaction.Connection!, id);
        if (row is null || ExecutionStates.After(row.State, what) is not { } state)
        {
            return null;
        }

        if (ExecutionStates.IsLeased(row.State) && !ExecutionStates.IsLeased(state))
        {
            DropLease(transaction, row, outcome, state);
        }

        Write(transaction, id, state, outcome);
        if (state == BuildStates.Queued)
        {
            wakeups.AfterCommit(transaction, Wakeups.Queue);
        }

        Touch(transaction, id);
        if (BuildStates.IsDone(state))
        {
            Measure(transaction, row, state);
        }

        return state;
    }

    private void Measure(DbTransaction transaction, ExecutionRow row, string state)
    {
        var seconds = row.Started is { } started ? (time.Milliseconds() - started) / 1000.0 : 0;
        QueuedWork
            .Current(transaction)
            .AfterCommit.Add(() => Meters.Builds.Record(seconds, new KeyValuePair<string, object?>("outcome", state)));
    }

    /// <summary>Gives every job that waits for the execution a new revision, and wakes who waits for them.</summary>
    public void Touch(DbTransaction transaction, string execution)
    {
        transaction.Run(
            """
            UPDATE jobs SET revision = revision + 1
            WHERE finished IS NULL AND id IN (SELECT job FROM job_tasks WHERE execution = @execution AND departed = 0)
            """,
            ("execution", execution)
        );
        Wake(transaction, execution);
    }

    /// <summary>Wakes who waits for a job of the execution; nothing that a revision counts has changed.</summary>
    public void Wake(DbTransaction transaction, string execution)
    {
        foreach (var job in Subscribers(transaction.Connection!, execution, all: true))
        {
            wakeups.AfterCommit(transaction, Wakeups.Job(job));
        }
    }

    /// <summary>The jobs that wait for an execution.</summary>
    /// <param name="all">Also those that left or are done.</param>
    public static List<string> Subscribers(DbConnection connection, string execution, bool all) =>
        connection.Query(
            """
            SELECT DISTINCT t.job FROM job_tasks t JOIN jobs j ON j.id = t.job
            WHERE t.execution = @execution AND (@all = 1 OR (t.departed = 0 AND j.finished IS NULL))
            """,
            row => row.GetString(0),
            ("execution", execution),
            ("all", all ? 1 : 0)
        );

    private void Write(DbTransaction transaction, string id, string state, ExecutionOutcome outcome)
    {
        var now = time.Milliseconds();
        transaction.Run(
            """
            UPDATE executions SET state = @state, cancel = CASE WHEN @state = 'canceling' THEN 1 ELSE cancel END,
                reason = @reason, message = @message, exit_code = @exit,
                manifest = @manifest, manifest_digest = @manifestDigest, hints = COALESCE(@hints, hints),
                dependencies = COALESCE(@dependencies, dependencies), evidence = COALESCE(@evidence, evidence),
                flattening = COALESCE(@flattening, flattening),
                steps = COALESCE(@steps, steps),
                confinement = COALESCE(@confinement, confinement),
                result_lease = COALESCE(@resultLease, result_lease), result_hash = COALESCE(@resultHash, result_hash),
                not_before = @notBefore, finished = @finished,
                queue_deadline = CASE WHEN @state = 'queued' THEN @now + queue_wait ELSE queue_deadline END
            WHERE id = @id
            """,
            ("id", id),
            ("state", state),
            ("reason", outcome.Reason),
            ("message", outcome.Message),
            ("exit", outcome.ExitCode),
            ("manifest", outcome.Manifest is { } m ? JsonSerializer.Serialize(m, BuildJson.Default.Descriptor) : null),
            ("manifestDigest", outcome.Manifest?.Digest.ToString()),
            ("hints", outcome.Hints),
            ("dependencies", outcome.Dependencies),
            ("evidence", outcome.Evidence),
            ("flattening", outcome.Flattening),
            ("steps", outcome.Steps),
            ("confinement", outcome.Confinement),
            ("resultLease", outcome.ResultLease),
            ("resultHash", outcome.ResultHash),
            ("notBefore", outcome.NotBefore),
            // Back in the queue it may wait anew: somebody took it in time.
            ("now", now),
            ("finished", BuildStates.IsDone(state) ? now : null)
        );
    }

    // What a lease pushed and nobody promoted is garbage once the lease is over.
    private static void DropLease(DbTransaction transaction, ExecutionRow row, ExecutionOutcome outcome, string state)
    {
        transaction.Run(
            """
            UPDATE executions SET lease = NULL, lease_expires = NULL, lease_local = 0, lease_server = NULL, phase = NULL, progress = NULL,
                attempt = attempt - @uncounted, private_to = CASE WHEN @state = 'queued' THEN NULL ELSE private_to END
            WHERE id = @id
            """,
            ("id", row.Id),
            ("uncounted", outcome.CountsAttempt ? 0 : 1),
            ("state", state)
        );
        transaction.Run("DELETE FROM lease_blobs WHERE lease = @lease", ("lease", row.Lease));
        transaction.Run("DELETE FROM lease_manifests WHERE lease = @lease", ("lease", row.Lease));
    }
}
