using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// What a node builds next: of what fits it and may be its, that of the requester who has the fewest builds running; then
/// the oldest. What a look costs goes by how many requesters wait in how many repositories, not by how much they have
/// queued: for each of these pairs an index leads to the first that fits.
/// </summary>
internal sealed class NextExecution
{
    // With the words of the index executions_waiting.
    private const string Waiting = "state = 'queued' AND finished IS NULL";

    // Whose all requests are that an execution answers; nobody else is then given what a stranger's machine has built.
    private const string IsOnlyMine = """
        e.requested_by = @me AND NOT EXISTS (
            SELECT 1 FROM job_tasks t JOIN jobs j ON j.id = t.job
            WHERE t.execution = e.id AND t.departed = 0 AND j.created_by <> @me
        )
        """;

    private readonly LeaseClaim _claim;
    private readonly Claimant _by;
    private readonly Builders _builders;
    private readonly long _now;
    private readonly List<(string Name, object? Value)> _values;
    private string _fits;

    /// <param name="now">Milliseconds since 1970.</param>
    public NextExecution(LeaseClaim claim, Claimant by, Builders builders, long now)
    {
        (_claim, _by, _builders, _now) = (claim, by, builders, now);
        _values = [("now", now), ("me", by.Name)];
        var conditions = new List<string>
        {
            "e." + Waiting.Replace(" finished", " e.finished", StringComparison.Ordinal),
            "e.not_before <= @now AND e.queue_deadline > @now",
        };
        if (by.Repository is not null)
        {
            conditions.Add("e.repository = (SELECT id FROM repositories WHERE name = @repository)");
            _values.Add(("repository", by.Repository));
        }

        if (claim.Job is not null)
        {
            conditions.Add("e.id IN (SELECT t.execution FROM job_tasks t WHERE t.job = @job AND t.departed = 0)");
            _values.Add(("job", claim.Job));
        }

        _fits = string.Join(" AND ", conditions);
    }

    /// <summary>Its id; null where there is nothing. Called once.</summary>
    public string? Find(DbConnection connection)
    {
        // What back ends are asked for stands in the queue.
        _fits += $" AND {Fitting.Of(connection, _claim, Emulation(connection), _values)}";
        return Line(connection).Select(first => Pick(connection, first)).FirstOrDefault(id => id is not null);
    }

    private AllowedEmulation? Emulation(DbConnection connection) =>
        Fitting.Emulates(_claim)
            ? new AllowedEmulation(_builders.Native(connection), _now - (long)Builders.Patience.TotalMilliseconds)
            : null;

    // Those who wait, each in one repository, in the order in which it is their turn.
    private List<First> Line(DbConnection connection)
    {
        var firsts = new List<First>();
        foreach (var pair in Pairs(connection))
        {
            var all = _by.MayBuildFor?.Invoke(pair.Name, pair.Requester) is null or true;
            if (all || (pair.Requester == _by.Name && _by.MayBuildOwn?.Invoke(pair.Name) is true))
            {
                var queued = all ? pair.Queued : pair.OwnQueued;
                if (queued is not null)
                {
                    firsts.Add(new First(pair.Requester, pair.Repository, pair.Running, queued.Value, all));
                }
            }
        }

        firsts.Sort((a, b) => (a.Running, a.Queued).CompareTo((b.Running, b.Queued)));
        return firsts;
    }

    // The pairs are found by going from each to the next in the index, past all that they have queued.
    private List<Pair> Pairs(DbConnection connection)
    {
        var own = _by.MayBuildOwn is null
            ? "NULL"
            : $"(SELECT e.queued FROM executions e WHERE {OfPair} AND {_fits} AND {IsOnlyMine} ORDER BY e.queued LIMIT 1)";
        return connection.Query(
            $"""
            WITH RECURSIVE pairs(requester, repository) AS (
                SELECT f.requested_by, f.repository FROM executions f WHERE f.id = (
                    SELECT n.id FROM executions n WHERE {Waiting} ORDER BY n.requested_by, n.repository LIMIT 1
                )
                UNION ALL
                SELECT f.requested_by, f.repository FROM pairs p JOIN executions f ON f.id = COALESCE((
                    SELECT n.id FROM executions n
                    WHERE {Waiting} AND n.requested_by = p.requester AND n.repository > p.repository
                    ORDER BY n.repository LIMIT 1
                ), (
                    SELECT n.id FROM executions n
                    WHERE {Waiting} AND n.requested_by > p.requester ORDER BY n.requested_by, n.repository LIMIT 1
                ))
            )
            SELECT p.requester, p.repository, r.name, (
                SELECT COUNT(*) FROM executions b
                WHERE b.requested_by = p.requester AND b.finished IS NULL AND b.state IN ('running', 'canceling')
            ), (SELECT e.queued FROM executions e WHERE {OfPair} AND {_fits} ORDER BY e.queued LIMIT 1), {own}
            FROM pairs p JOIN repositories r ON r.id = p.repository
            """,
            row => new Pair(
                row.GetString(0),
                row.GetInt64(1),
                row.GetString(2),
                row.GetInt64(3),
                row.IsDBNull(4) ? null : row.GetInt64(4),
                row.IsDBNull(5) ? null : row.GetInt64(5)
            ),
            [.. _values]
        );
    }

    private const string OfPair = "e.requested_by = p.requester AND e.repository = p.repository";

    // Of what was queued in the same millisecond, such as the tasks of one job, the first.
    private string? Pick(DbConnection connection, First first) =>
        connection.Scalar<string>(
            $"""
            SELECT e.id FROM executions e
            WHERE e.requested_by = @requester AND e.repository = @of AND e.queued = @queued AND {_fits}
                {(first.All ? "" : "AND " + IsOnlyMine)}
            ORDER BY (SELECT MIN(t.ordinal) FROM job_tasks t WHERE t.execution = e.id), e.id
            LIMIT 1
            """,
            [.. _values, ("requester", first.Requester), ("of", first.Repository), ("queued", first.Queued)]
        );

    private sealed record Pair(
        string Requester,
        long Repository,
        string Name,
        long Running,
        long? Queued,
        long? OwnQueued
    );

    /// <param name="All">Whether it may be anything of theirs, or only what nobody else waits for.</param>
    private sealed record First(string Requester, long Repository, long Running, long Queued, bool All);
}
