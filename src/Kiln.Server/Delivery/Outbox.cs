using System.Data.Common;
using Kiln.Server.Metadata;

namespace Kiln.Server.Delivery;

/// <summary>A delivery that has been taken from the outbox, to be tried.</summary>
/// <param name="Attempt">From 1.</param>
internal sealed record TakenDelivery(string Target, string Id, ReadOnlyMemory<byte> Body, int Attempt, long Created);

/// <summary>When something waits for a receiver.</summary>
internal sealed record WaitingTarget(string Id, long Due);

/// <summary>
/// What others are to be told: rows, written in the transaction of what happened, so that it is told exactly if it happened,
/// and at least once. Whoever takes a row has <see cref="TryTime"/> for it; then it is anybody's again.
/// </summary>
internal sealed class Outbox(Database database, EventOptions options, TimeProvider time)
{
    /// <summary>What <see cref="Database.Listen"/> hears when something is to be sent.</summary>
    public const string Topic = "deliver";

    /// <summary>How long a try may take.</summary>
    public static readonly TimeSpan TryTime = TimeSpan.FromMinutes(1);

    // After a failure nothing else is tried at the same receiver for so long at most, unless it says so itself.
    private static readonly TimeSpan MaxPause = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromDays(1);
    private const int MaxErrorLength = 300;

    /// <summary>Writes down that a receiver is to be told something.</summary>
    /// <param name="id">The event's id, the same for all who are told of it.</param>
    public void Add(DbTransaction transaction, string target, string id, ReadOnlyMemory<byte> body)
    {
        var now = time.Milliseconds();
        transaction.Run(
            """
            INSERT INTO deliveries (target, id, body, created, due)
            SELECT id, @event, @body, @now, @now FROM delivery_targets WHERE id = @target AND stopped IS NULL
            """,
            ("target", target),
            ("event", id),
            ("body", body.ToArray()),
            ("now", now)
        );
        database.Signal(transaction, Topic);
    }

    /// <summary>Makes a receiver known. Another address than before is a new beginning for one that wanted nothing more.</summary>
    public static void Register(DbTransaction transaction, string target, string address) =>
        transaction.Run(
            """
            INSERT INTO delivery_targets (id, address) VALUES (@id, @address)
            ON CONFLICT (id) DO UPDATE
            SET address = excluded.address, stopped = NULL, failing = NULL, error = NULL, not_before = 0
            WHERE delivery_targets.address <> excluded.address
            """,
            ("id", target),
            ("address", address)
        );

    /// <summary>Forgets a receiver and all that waits for it.</summary>
    public static void Remove(DbTransaction transaction, string target)
    {
        transaction.Run("DELETE FROM deliveries WHERE target = @target", ("target", target));
        transaction.Run("DELETE FROM delivery_targets WHERE id = @target", ("target", target));
    }

    /// <summary>For whom something waits, and when it is due; Unix milliseconds.</summary>
    public List<WaitingTarget> Waiting() =>
        database.Read(c =>
            c.Query(
                """
                SELECT t.id, t.not_before, MIN(d.due) FROM delivery_targets t JOIN deliveries d ON d.target = t.id
                WHERE t.stopped IS NULL AND d.given_up IS NULL GROUP BY t.id, t.not_before
                """,
                row => new WaitingTarget(row.GetString(0), Math.Max(row.GetInt64(1), row.GetInt64(2)))
            )
        );

    /// <summary>Takes what is due for a receiver; null where nothing is.</summary>
    public Task<TakenDelivery?> TakeAsync(string target, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var now = time.Milliseconds();
                var row = transaction
                    .Query(
                        """
                        SELECT d.id, d.body, d.attempts, d.created
                        FROM deliveries d JOIN delivery_targets t ON t.id = d.target
                        WHERE d.target = @target AND d.given_up IS NULL AND d.due <= @now
                            AND t.stopped IS NULL AND t.not_before <= @now
                        ORDER BY d.due, d.id LIMIT 1
                        """,
                        r => new TakenDelivery(
                            target,
                            r.GetString(0),
                            r.GetFieldValue<byte[]>(1),
                            r.GetInt32(2) + 1,
                            r.GetInt64(3)
                        ),
                        ("target", target),
                        ("now", now)
                    )
                    .FirstOrDefault();
                if (row is not null)
                {
                    transaction.Run(
                        "UPDATE deliveries SET due = @due, attempts = attempts + 1 WHERE target = @target AND id = @id",
                        ("target", target),
                        ("id", row.Id),
                        ("due", now + (long)TryTime.TotalMilliseconds)
                    );
                }

                return row;
            },
            cancel
        );

    /// <summary>It has been heard.</summary>
    /// <param name="pause">How long the receiver wants to be left in peace now.</param>
    public Task DeliveredAsync(TakenDelivery taken, TimeSpan pause, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                Delete(transaction, taken);
                transaction.Run(
                    """
                    UPDATE delivery_targets SET failing = NULL, error = NULL, not_before = @until
                    WHERE id = @id AND (failing IS NOT NULL OR not_before < @until)
                    """,
                    ("id", taken.Target),
                    ("until", pause > TimeSpan.Zero ? (time.GetUtcNow() + pause).ToUnixTimeMilliseconds() : 0)
                );
            },
            cancel
        );

    /// <summary>It has not been heard: it is tried again later, or given up.</summary>
    /// <param name="retryAfter">When the receiver wants to hear again; null where it did not say.</param>
    /// <returns>Whether it was given up.</returns>
    public Task<bool> FailedAsync(TakenDelivery taken, string error, TimeSpan? retryAfter, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var now = time.GetUtcNow();
                var asked =
                    retryAfter < MaxRetryAfter ? retryAfter
                    : retryAfter is null ? null
                    : MaxRetryAfter;
                var delay = Backoff.After(taken.Attempt);
                var next = now + (asked > delay ? asked.Value : delay ?? TimeSpan.Zero);
                var last = DateTimeOffset.FromUnixTimeMilliseconds(taken.Created) + options.GiveUpAfter;
                var givenUp = delay is null || next > last;
                var why = error.Length <= MaxErrorLength ? error : error[..MaxErrorLength];
                transaction.Run(
                    "UPDATE deliveries SET due = @due, given_up = @given, error = @error WHERE target = @target AND id = @id",
                    ("target", taken.Target),
                    ("id", taken.Id),
                    ("due", next.ToUnixTimeMilliseconds()),
                    ("given", givenUp ? now.ToUnixTimeMilliseconds() : null),
                    ("error", why)
                );
                var pause = asked ?? (delay < MaxPause ? delay.Value : MaxPause);
                transaction.Run(
                    """
                    UPDATE delivery_targets SET failing = COALESCE(failing, @now), error = @error, not_before = @until
                    WHERE id = @id
                    """,
                    ("id", taken.Target),
                    ("now", now.ToUnixTimeMilliseconds()),
                    ("error", why),
                    ("until", (now + pause).ToUnixTimeMilliseconds())
                );
                return givenUp;
            },
            cancel
        );

    /// <summary>The receiver wants nothing any more, now or later.</summary>
    public Task StopAsync(TakenDelivery taken, string error, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                transaction.Run("DELETE FROM deliveries WHERE target = @target", ("target", taken.Target));
                transaction.Run(
                    "UPDATE delivery_targets SET stopped = @now, error = @error WHERE id = @id",
                    ("id", taken.Target),
                    ("now", time.Milliseconds()),
                    ("error", error)
                );
            },
            cancel
        );

    /// <summary>Forgets a receiver that nobody knows any more.</summary>
    public Task ForgetAsync(string target, CancellationToken cancel) =>
        database.WriteAsync(transaction => Remove(transaction, target), cancel);

    private static void Delete(DbTransaction transaction, TakenDelivery taken) =>
        transaction.Run(
            "DELETE FROM deliveries WHERE target = @target AND id = @id",
            ("target", taken.Target),
            ("id", taken.Id)
        );
}
