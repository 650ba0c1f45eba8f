using Kiln.Client.Administration;
using Kiln.Server.Metadata;

namespace Kiln.Server.Delivery;

/// <summary>What waits for whom, for operators, and a second chance for what was given up.</summary>
internal sealed class OutboxView(Database database, TimeProvider time)
{
    /// <summary>All receivers.</summary>
    public IReadOnlyList<DeliveryTargetView> All() =>
        database.Read(c =>
            c.Query(
                """
                SELECT t.id, t.address, COUNT(d.id) - COUNT(d.given_up), COUNT(d.given_up), t.failing, t.stopped, t.error
                FROM delivery_targets t LEFT JOIN deliveries d ON d.target = t.id
                GROUP BY t.id, t.address, t.failing, t.stopped, t.error ORDER BY t.id
                """,
                row => new DeliveryTargetView
                {
                    Receiver = row.GetString(0),
                    Url = row.GetString(1),
                    Waiting = row.GetInt64(2),
                    GivenUp = row.GetInt64(3),
                    FailingSince = Time(row.LongOrNull(4)),
                    StoppedSince = Time(row.LongOrNull(5)),
                    Error = row.TextOrNull(6),
                }
            )
        );

    /// <summary>Tries everything again that waits for a receiver or was given up, as if it had just happened.</summary>
    /// <returns>How much; null where there is no such receiver.</returns>
    public Task<int?> RetryAsync(string receiver, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var known = transaction.Run(
                    "UPDATE delivery_targets SET not_before = 0, stopped = NULL WHERE id = @id",
                    ("id", receiver)
                );
                if (known == 0)
                {
                    return (int?)null;
                }

                database.Signal(transaction, Outbox.Topic);
                return transaction.Run(
                    """
                    UPDATE deliveries SET given_up = NULL, attempts = 0, created = @now, due = @now WHERE target = @id
                    """,
                    ("id", receiver),
                    ("now", time.Milliseconds())
                );
            },
            cancel
        );

    private static DateTimeOffset? Time(long? milliseconds) =>
        milliseconds is { } value ? DateTimeOffset.FromUnixTimeMilliseconds(value) : null;
}
