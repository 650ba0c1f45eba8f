using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;

namespace Kiln.Server.Builds.Queue;

/// <summary>Gives nodes what they build next.</summary>
internal sealed class Claims(
    Database database,
    Executions executions,
    Builders builders,
    ServerPresence presence,
    BuildOptions options,
    TimeProvider time
)
{
    /// <summary>The shortest life of a lease that a claim may ask for, in seconds.</summary>
    public const int MinSeconds = 10;

    /// <summary>Takes an execution for a lease, in the transaction given.</summary>
    /// <returns>Null where there is nothing.</returns>
    public Claimed? Take(DbTransaction transaction, LeaseClaim claim, Claimant by)
    {
        if (Next(claim, by).Find(transaction.Connection!) is not { } id)
        {
            return null;
        }

        // While it is in the queue: what is said to back ends is read there.
        var emulated = Fitting.IsEmulated(transaction.Connection!, id, claim);
        executions.Move(transaction, id, ExecutionEvent.Claimed, ExecutionOutcome.None);
        var now = time.Milliseconds();
        var seconds = Seconds(claim.LeaseSeconds);
        var lease = Ids.New(time);
        transaction.Run(
            """
            UPDATE executions SET lease = @lease, lease_expires = @expires, lease_local = @local, lease_server = @server,
                emulated = @emulated, node = @node, attempt = attempt + 1, started = COALESCE(started, @now), phase = @phase, private_to = @private
            WHERE id = @id
            """,
            ("id", id),
            ("lease", lease),
            ("expires", now + (seconds * 1000L)),
            ("local", by.Local ? 1 : 0),
            ("server", by.Local ? presence.Self : null),
            ("node", by.Name),
            ("emulated", emulated ? 1 : 0),
            ("now", now),
            ("phase", BuildPhases.Scheduled),
            ("private", IsPrivate(transaction.Connection!, id, by) ? by.Name : null)
        );
        var row = Executions.Find(transaction.Connection!, id)!;
        database.AfterCommit(transaction, () => Meters.QueueWaits.Record((now - row.Queued) / 1000.0));
        return new Claimed(row, by, claim, lease, seconds);
    }

    /// <summary>Whether anything waits that the node could build: a cheap look before the writer is asked for.</summary>
    public bool Any(LeaseClaim claim, Claimant by) => database.Read(Next(claim, by).Find) is not null;

    /// <summary>How long until something that was put off may be tried again; null where nothing was.</summary>
    public TimeSpan? UntilNext() =>
        database.Read(c =>
            c.Scalar<long?>(
                "SELECT MIN(not_before) FROM executions WHERE state = 'queued' AND finished IS NULL AND not_before > 0 AND not_before > @now",
                ("now", time.Milliseconds())
            )
        )
            is { } at
            ? TimeSpan.FromMilliseconds(Math.Max(1, at - time.Milliseconds()))
            : null;

    /// <summary>How long a lease lives after each sign of life, of what was asked for.</summary>
    public int Seconds(int? asked) =>
        asked is null
            ? options.LeaseSeconds
            : Math.Clamp(asked.Value, Math.Min(MinSeconds, options.LeaseSeconds), MaxSeconds(options));

    public static int MaxSeconds(BuildOptions options) => Math.Max(options.MaxLeaseSeconds, options.LeaseSeconds);

    private NextExecution Next(LeaseClaim claim, Claimant by) => new(claim, by, builders, time.Milliseconds());

    // What somebody's own node builds, only they may take: others would trust a stranger's machine without knowing.
    private static bool IsPrivate(DbConnection connection, string execution, Claimant by) =>
        by.MayBuildFor is { } may
        && connection
            .Query(
                "SELECT r.name, e.requested_by FROM executions e JOIN repositories r ON r.id = e.repository WHERE e.id = @id",
                row => (row.GetString(0), row.GetString(1)),
                ("id", execution)
            )
            .TrueForAll(e => !may(e.Item1, e.Item2));
}
