using System.Data.Common;
using System.Globalization;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// Picks what a node builds next: of what fits, that of the requester who has the fewest builds running; then the
/// oldest.
/// </summary>
internal sealed class Claims(Database database, Executions executions, BuildOptions options, TimeProvider time)
{
    /// <summary>Takes an execution for a lease, in the one transaction that picks it.</summary>
    /// <param name="local">Whether the node runs in this server and ends with it.</param>
    /// <param name="taken">Called in that transaction with what was taken; null where it cannot be begun.</param>
    public Task<T?> TakeAsync<T>(
        LeaseClaim claim,
        bool local,
        Func<DbTransaction, ExecutionRow, T?> taken,
        CancellationToken cancel
    )
        where T : class =>
        database.WriteAsync(
            transaction =>
            {
                if (Pick(transaction.Connection!, claim) is not { } id)
                {
                    return null;
                }

                executions.Move(transaction, id, ExecutionEvent.Claimed, ExecutionOutcome.None);
                var now = time.Milliseconds();
                transaction.Run(
                    """
                    UPDATE executions SET lease = @lease, lease_expires = @expires, lease_local = @local, node = @node,
                        attempt = attempt + 1, started = COALESCE(started, @now), phase = @phase
                    WHERE id = @id
                    """,
                    ("id", id),
                    ("lease", Ids.New(time)),
                    ("expires", now + (options.LeaseSeconds * 1000L)),
                    ("local", local ? 1 : 0),
                    ("node", claim.Node),
                    ("now", now),
                    ("phase", BuildPhases.Scheduled)
                );
                return taken(transaction, Executions.Find(transaction.Connection!, id)!);
            },
            cancel
        );

    /// <summary>Whether anything waits that the node could build: a cheap look before the writer is asked for.</summary>
    public bool Any(LeaseClaim claim) => database.Read(c => Pick(c, claim)) is not null;

    /// <summary>How long until something that was put off may be tried again; null where nothing was.</summary>
    public TimeSpan? UntilNext() =>
        database.Read(c =>
            c.Scalar<long?>(
                "SELECT MIN(not_before) FROM executions WHERE state = 'queued' AND finished IS NULL AND not_before > @now",
                ("now", time.Milliseconds())
            )
        )
            is { } at
            ? TimeSpan.FromMilliseconds(Math.Max(1, at - time.Milliseconds()))
            : null;

    private string? Pick(DbConnection connection, LeaseClaim claim)
    {
        var values = new List<(string, object?)> { ("now", time.Milliseconds()) };
        var sql = $"""
            SELECT e.id FROM executions e
            WHERE e.state = 'queued' AND e.finished IS NULL AND e.not_before <= @now AND e.queue_deadline > @now
                AND e.platform IN ({List("platform", claim.Platforms, values)})
                AND e.recipe_type IN ({List("recipe", claim.Recipes, values)})
                AND e.format IN ({List("format", claim.Outputs, values)})
            ORDER BY (
                SELECT COUNT(*) FROM executions r
                WHERE r.requested_by = e.requested_by AND r.finished IS NULL AND r.state IN ('running', 'canceling')
            ), e.queued, (SELECT MIN(t.ordinal) FROM job_tasks t WHERE t.execution = e.id), e.id
            LIMIT 1
            """;
        return connection.Scalar<string>(sql, [.. values]);
    }

    // The names of parameters; the values themselves are bound.
    private static string List(string name, IReadOnlyList<string> items, List<(string, object?)> values)
    {
        var names = new List<string>(items.Count);
        for (var i = 0; i < items.Count; i++)
        {
            var parameter = name + i.ToString(CultureInfo.InvariantCulture);
            values.Add((parameter, items[i]));
            names.Add("@" + parameter);
        }

        return names.Count == 0 ? "NULL" : string.Join(", ", names);
    }
}
