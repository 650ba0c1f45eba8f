using Kiln.Server.Metadata;

namespace Kiln.Server.Delivery;

/// <summary>Keeps the outbox within its bounds, once a minute.</summary>
internal sealed class OutboxTrim(Database database, EventOptions options, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);
    private DateTimeOffset _last = DateTimeOffset.MinValue;

    /// <summary>Looks, if it is time again.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        if (time.GetUtcNow() - _last < Interval)
        {
            return;
        }

        _last = time.GetUtcNow();
        foreach (var target in database.Read(c => c.Query("SELECT id FROM delivery_targets", row => row.GetString(0))))
        {
            if (database.Read(c => Count(c, target)) is { } counts && IsTooMuch(counts))
            {
                await database.WriteAsync(transaction => Trim(transaction, target), cancel);
            }
        }
    }

    private bool IsTooMuch((long Waiting, long GivenUp, long? Oldest) counts) =>
        counts.Waiting > options.MaxWaiting || counts.GivenUp > options.MaxGivenUp || counts.Oldest <= Before;

    private long Before => (time.GetUtcNow() - options.KeepGivenUp).ToUnixTimeMilliseconds();

    private static (long Waiting, long GivenUp, long? Oldest) Count(System.Data.Common.DbConnection c, string target) =>
        c.Query(
            "SELECT COUNT(*) - COUNT(given_up), COUNT(given_up), MIN(given_up) FROM deliveries WHERE target = @target",
            row => (row.GetInt64(0), row.GetInt64(1), row.LongOrNull(2)),
            ("target", target)
        )[0];

    private void Trim(System.Data.Common.DbTransaction transaction, string target)
    {
        transaction.Run(
            """
            UPDATE deliveries SET given_up = @now, error = 'too many waited' WHERE target = @target AND id IN (
                SELECT id FROM deliveries WHERE target = @target AND given_up IS NULL ORDER BY created DESC, id DESC
                LIMIT @all OFFSET @most
            )
            """,
            ("target", target),
            ("now", time.Milliseconds()),
            ("all", int.MaxValue),
            ("most", options.MaxWaiting)
        );
        transaction.Run(
            "DELETE FROM deliveries WHERE target = @target AND given_up <= @before",
            ("target", target),
            ("before", Before)
        );
        transaction.Run(
            """
            DELETE FROM deliveries WHERE target = @target AND id IN (
                SELECT id FROM deliveries WHERE target = @target AND given_up IS NOT NULL
                ORDER BY given_up DESC, id DESC LIMIT @all OFFSET @most
            )
            """,
            ("target", target),
            ("all", int.MaxValue),
            ("most", options.MaxGivenUp)
        );
    }
}
