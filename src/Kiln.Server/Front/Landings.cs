using System.Data.Common;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;

namespace Kiln.Server.Front;

/// <summary>A job's products on their way to the registry behind.</summary>
/// <param name="Since">When they were sent on their way, in Unix milliseconds.</param>
/// <param name="Tries">So far, this one included.</param>
/// <param name="Refusals">Of those, how many the registry behind has refused.</param>
internal sealed record Landing(string Job, string State, long Since, long Tries, long Refusals);

/// <summary>
/// Which products are on their way to the registry behind: rows, so that a restart forgets none. A row goes with the end of
/// its job.
/// </summary>
internal sealed class Landings(Database database, ServerId self, Wakeups wakeups, TimeProvider time) : IProductsBehind
{
    /// <summary>Something is to be brought to the registry behind.</summary>
    public const string Topic = "landings";

    private const string Waiting = "waiting";
    private const string Tagging = "tagging";
    private const string Landed = "landed";
    private const string Failed = "failed";

    /// <summary>How long a server has a landing to itself without a word.</summary>
    private static readonly TimeSpan Hold = TimeSpan.FromMinutes(1);

    /// <summary>How often it says that it is still at it.</summary>
    public static readonly TimeSpan Beat = TimeSpan.FromSeconds(20);

    public LandingState Land(DbTransaction transaction, JobRow job)
    {
        var known = transaction
            .Query(
                "SELECT state, reason, message FROM front_landings WHERE job = @job",
                row => (State: row.GetString(0), Reason: row.TextOrNull(1), Message: row.TextOrNull(2)),
                ("job", job.Id)
            )
            .FirstOrDefault();
        if (known.State is Landed or Failed)
        {
            transaction.Run("DELETE FROM front_landings WHERE job = @job", ("job", job.Id));
            return known.State == Landed ? LandingState.Landed : new(IsThere: false, known.Reason, known.Message);
        }

        if (known.State is null)
        {
            transaction.Run(
                "INSERT INTO front_landings (job, state, since, next_try) VALUES (@job, @state, @now, @now)",
                ("job", job.Id),
                ("state", Waiting),
                ("now", time.Milliseconds())
            );
            wakeups.AfterCommit(transaction, Topic);
        }

        return LandingState.UnderWay;
    }

    public bool IsMovingTags(DbConnection connection, string job) =>
        connection.Scalar<string>("SELECT state FROM front_landings WHERE job = @job", ("job", job)) == Tagging;

    /// <summary>How many are on their way.</summary>
    public long Count() => database.Read(c => c.Scalar<long>("SELECT COUNT(*) FROM front_landings"));

    /// <summary>What this server was at when it ended is to be had again at once.</summary>
    public Task ReleaseAsync(CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
                transaction.Run("UPDATE front_landings SET held_until = 0 WHERE held_by = @self", ("self", self.Value)),
            cancel
        );

    /// <summary>
    /// Takes the one whose turn it is; null where there is none. Those of a repository have it in the order in which they
    /// were built: each finds the tags where the one before has left them.
    /// </summary>
    public Task<Landing?> TakeAsync(CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var now = time.Milliseconds();
                var due = transaction
                    .Query(
                        """
                        SELECT l.job, l.state, l.since, l.tries, l.refusals
                        FROM front_landings l LEFT JOIN jobs j ON j.id = l.job
                        WHERE l.state IN ('waiting', 'tagging') AND l.next_try <= @now AND l.held_until <= @now
                            AND NOT EXISTS (
                                SELECT 1 FROM front_landings older JOIN jobs its ON its.id = older.job
                                WHERE its.repository = j.repository AND its.finished IS NULL
                                    AND older.state IN ('waiting', 'tagging')
                                    AND (older.since < l.since OR (older.since = l.since AND older.job < l.job)))
                        ORDER BY l.next_try, l.job LIMIT 1
                        """,
                        row => new Landing(
                            row.GetString(0),
                            row.GetString(1),
                            row.GetInt64(2),
                            row.GetInt64(3) + 1,
                            row.GetInt64(4)
                        ),
                        ("now", now)
                    )
                    .FirstOrDefault();
                if (due is not null)
                {
                    transaction.Run(
                        "UPDATE front_landings SET tries = @tries, held_by = @self, held_until = @until WHERE job = @job",
                        ("job", due.Job),
                        ("tries", due.Tries),
                        ("self", self.Value),
                        ("until", Until(now))
                    );
                }

                return due;
            },
            cancel
        );

    /// <summary>Whether any will have its turn soon.</summary>
    public bool Any() =>
        database.Read(c =>
            c.Scalar<long?>("SELECT 1 FROM front_landings WHERE state IN ('waiting', 'tagging') LIMIT 1") is not null
        );

    /// <summary>Says that this server is still at it.</summary>
    public Task BeatAsync(Landing landing, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
                transaction.Run(
                    "UPDATE front_landings SET held_until = @until WHERE job = @job AND held_by = @self",
                    ("job", landing.Job),
                    ("self", self.Value),
                    ("until", Until(time.Milliseconds()))
                ),
            cancel
        );

    /// <summary>From now on the job is not cancelled any more.</summary>
    /// <returns>False where it has ended meanwhile.</returns>
    public Task<bool> BeginTaggingAsync(Landing landing, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
                transaction.Run(
                    """
                    UPDATE front_landings SET state = @state WHERE job = @job AND EXISTS
                        (SELECT 1 FROM jobs j WHERE j.id = @job AND j.finished IS NULL AND j.state <> 'canceling')
                    """,
                    ("job", landing.Job),
                    ("state", Tagging)
                ) > 0,
            cancel
        );

    /// <summary>All of it is there, or never will be: what becomes of the job, its settlement asks here.</summary>
    /// <param name="reason">Why it never will be; null where it is.</param>
    public static void End(DbTransaction transaction, string job, string? reason, string? message) =>
        transaction.Run(
            "UPDATE front_landings SET state = @state, reason = @reason, message = @message WHERE job = @job",
            ("job", job),
            ("state", reason is null ? Landed : Failed),
            ("reason", reason),
            ("message", message)
        );

    /// <summary>It is tried again; whoever looks at the job sees why.</summary>
    public void Again(DbTransaction transaction, Landing landing, TimeSpan pause, bool refused, string message)
    {
        transaction.Run(
            """
            UPDATE front_landings SET next_try = @next, held_until = 0, refusals = @refusals, message = @message
            WHERE job = @job
            """,
            ("job", landing.Job),
            ("next", time.Milliseconds() + (long)pause.TotalMilliseconds),
            ("refusals", landing.Refusals + (refused ? 1 : 0)),
            ("message", message)
        );
        transaction.Run(
            "UPDATE jobs SET message = @message, revision = revision + 1 WHERE id = @job AND finished IS NULL",
            ("job", landing.Job),
            ("message", message)
        );
        wakeups.AfterCommit(transaction, Wakeups.Job(landing.Job));
    }

    /// <summary>Nobody waits for it any more.</summary>
    public Task DropAsync(Landing landing, CancellationToken cancel) =>
        database.WriteAsync(
            transaction => transaction.Run("DELETE FROM front_landings WHERE job = @job", ("job", landing.Job)),
            cancel
        );

    private static long Until(long now) => now + (long)Hold.TotalMilliseconds;
}
