using System.Data.Common;
using System.Globalization;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// Picks what a node builds next: of what fits and may be, that of the requester who has the fewest builds running; then
/// the oldest.
/// </summary>
internal sealed class Claims(
    Database database,
    Executions executions,
    ServerPresence presence,
    BuildOptions options,
    TimeProvider time
)
{
    /// <summary>The shortest life of a lease that a claim may ask for, in seconds.</summary>
    public const int MinSeconds = 10;

    // Requesters in repositories that one look considers for a node that may not build for everybody, oldest first.
    private const int MaxPairs = 1000;

    // What an execution needs, in the order of BuildResources.List.
    private static readonly IReadOnlyList<string> ResourceColumns = ["cpus", "memory_bytes", "disk_bytes", "gpus"];

    /// <summary>Takes an execution for a lease, in the transaction given.</summary>
    /// <returns>Null where there is nothing.</returns>
    public Claimed? Take(DbTransaction transaction, LeaseClaim claim, Claimant by)
    {
        if (Pick(transaction.Connection!, claim, by) is not { } id)
        {
            return null;
        }

        executions.Move(transaction, id, ExecutionEvent.Claimed, ExecutionOutcome.None);
        var now = time.Milliseconds();
        var seconds = Seconds(claim.LeaseSeconds);
        var lease = Ids.New(time);
        transaction.Run(
            """
            UPDATE executions SET lease = @lease, lease_expires = @expires, lease_local = @local, lease_server = @server,
                node = @node, attempt = attempt + 1, started = COALESCE(started, @now), phase = @phase, private_to = @private
            WHERE id = @id
            """,
            ("id", id),
            ("lease", lease),
            ("expires", now + (seconds * 1000L)),
            ("local", by.Local ? 1 : 0),
            ("server", by.Local ? presence.Self : null),
            ("node", by.Name),
            ("now", now),
            ("phase", BuildPhases.Scheduled),
            ("private", IsPrivate(transaction.Connection!, id, by) ? by.Name : null)
        );
        var row = Executions.Find(transaction.Connection!, id)!;
        database.AfterCommit(transaction, () => Meters.QueueWaits.Record((now - row.Queued) / 1000.0));
        return new Claimed(row, by, claim, lease, seconds);
    }

    /// <summary>Whether anything waits that the node could build: a cheap look before the writer is asked for.</summary>
    public bool Any(LeaseClaim claim, Claimant by) => database.Read(c => Pick(c, claim, by)) is not null;

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

    /// <summary>How long a lease lives after each sign of life, of what was asked for.</summary>
    public int Seconds(int? asked) =>
        asked is null
            ? options.LeaseSeconds
            : Math.Clamp(asked.Value, Math.Min(MinSeconds, options.LeaseSeconds), MaxSeconds(options));

    public static int MaxSeconds(BuildOptions options) => Math.Max(options.MaxLeaseSeconds, options.LeaseSeconds);

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

    private string? Pick(DbConnection connection, LeaseClaim claim, Claimant by)
    {
        var values = new List<(string, object?)> { ("now", time.Milliseconds()) };
        var resources = "";
        foreach (var (had, column) in (claim.Resources ?? new BuildResources()).List().Zip(ResourceColumns))
        {
            resources += $" AND e.{column} <= @had_{column}";
            values.Add(("had_" + column, had.Value ?? 0));
        }

        var networks = claim.Networks is null
            ? ""
            : $"AND (e.network = '' OR e.network IN ({List("network", claim.Networks, values)}))";
        var fits = $"""
            e.state = 'queued' AND e.finished IS NULL AND e.not_before <= @now AND e.queue_deadline > @now
                AND e.platform IN ({List("platform", claim.Platforms, values)})
                AND e.recipe_type IN ({List("recipe", claim.Recipes, values)})
                AND e.format IN ({List("format", claim.Outputs, values)}) {networks}{resources}
            """;
        if (by.Repository is not null)
        {
            fits += " AND e.repository = (SELECT id FROM repositories WHERE name = @repository)";
            values.Add(("repository", by.Repository));
        }

        if (claim.Job is not null)
        {
            fits += " AND e.id IN (SELECT t.execution FROM job_tasks t WHERE t.job = @job AND t.departed = 0)";
            values.Add(("job", claim.Job));
        }

        if (by.MayBuildFor is not null)
        {
            fits += $" AND ({Allowed(connection, fits, by, values)})";
        }

        var sql = $"""
            SELECT e.id FROM executions e
            WHERE {fits}
            ORDER BY (
                SELECT COUNT(*) FROM executions r
                WHERE r.requested_by = e.requested_by AND r.finished IS NULL AND r.state IN ('running', 'canceling')
            ), e.queued, (SELECT MIN(t.ordinal) FROM job_tasks t WHERE t.execution = e.id), e.id
            LIMIT 1
            """;
        return connection.Scalar<string>(sql, [.. values]);
    }

    // A condition on whose executions they may be: what is granted, and what is one's own and nobody else's.
    private static string Allowed(DbConnection connection, string fits, Claimant by, List<(string, object?)> values)
    {
        var pairs = connection.Query(
            $"""
            SELECT e.repository, r.name, e.requested_by FROM executions e JOIN repositories r ON r.id = e.repository
            WHERE {fits} GROUP BY e.repository, r.name, e.requested_by ORDER BY MIN(e.queued) LIMIT {MaxPairs}
            """,
            row => (Repository: row.GetInt64(0), Name: row.GetString(1), Requester: row.GetString(2)),
            [.. values]
        );
        var granted = pairs.FindAll(p => by.MayBuildFor!(p.Name, p.Requester));
        var own = pairs
            .FindAll(p => p.Requester == by.Name && by.MayBuildOwn?.Invoke(p.Name) is true)
            .ConvertAll(p => p.Repository.ToString(CultureInfo.InvariantCulture));
        values.Add(("me", by.Name));
        var keys = granted.ConvertAll(p =>
            string.Create(CultureInfo.InvariantCulture, $"{p.Repository} {p.Requester}")
        );
        return $"""
            CAST(e.repository AS TEXT) || ' ' || e.requested_by IN ({List("granted", keys, values)})
            OR (e.requested_by = @me AND CAST(e.repository AS TEXT) IN ({List("own", own, values)})
                AND NOT EXISTS (
                    SELECT 1 FROM job_tasks t JOIN jobs j ON j.id = t.job
                    WHERE t.execution = e.id AND t.departed = 0 AND j.created_by <> @me
                ))
            """;
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
