using System.Data.Common;
using Kiln.Server.Metadata;

namespace Kiln.Server.Journal;

/// <summary>A writer's right to the journal, and how far the journal is.</summary>
/// <param name="Epoch">Of this holder; a later one has a larger.</param>
/// <param name="Next">The number of the next line.</param>
internal sealed record JournalTurn(long Epoch, long Next);

/// <summary>
/// Of all servers of a database one writes the journal at a time: it holds the lease in <c>journal_state</c>. Who lost it
/// notices when it is to say what it wrote, so that nothing is taken from the outbox twice.
/// </summary>
internal sealed class JournalLease(Database database, TimeProvider time)
{
    private const long DurationMilliseconds = 15_000;

    // Two may be late before the lease is anybody's.
    private static readonly TimeSpan RenewEvery = TimeSpan.FromMilliseconds(DurationMilliseconds / 3);

    private readonly string _holder = Guid.NewGuid().ToString("n");

    /// <summary>Takes the lease, or goes on holding it; null where another server has it.</summary>
    /// <param name="anew">Begins a new epoch in any case, since what was written last may be torn.</param>
    public Task<JournalTurn?> TakeAsync(bool anew, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var now = time.Milliseconds();
                var (holder, expires, turn) = State(transaction);
                if (holder != _holder && expires > now && database.IsShared)
                {
                    return null;
                }

                var next = holder == _holder && !anew ? turn : turn with { Epoch = turn.Epoch + 1 };
                transaction.Run(
                    "UPDATE journal_state SET holder = @holder, expires = @expires, epoch = @epoch WHERE id = 1",
                    ("holder", _holder),
                    ("expires", now + DurationMilliseconds),
                    ("epoch", next.Epoch)
                );
                return next;
            },
            cancel
        );

    /// <summary>Does what may take longer than a lease, which is renewed meanwhile.</summary>
    /// <param name="turn">The turn that is held.</param>
    /// <param name="work">Is cancelled when the lease is lost.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>What the work returned; false where the lease was lost.</returns>
    public async Task<bool> HoldAsync(
        JournalTurn turn,
        Func<CancellationToken, Task<bool>> work,
        CancellationToken cancel
    )
    {
        using var working = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using var done = new CancellationTokenSource();
        var renewing = RenewAsync(turn, working, done.Token);
        try
        {
            return await work(working.Token);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested && working.IsCancellationRequested)
        {
            return false;
        }
        finally
        {
            await done.CancelAsync();
            await renewing;
        }
    }

    /// <summary>Notes that the journal has got as far as <paramref name="next"/>, and stays the holder.</summary>
    /// <returns>False where the lease was lost: what was written is not counted, and will be written again.</returns>
    public bool Advance(DbTransaction transaction, JournalTurn turn, long next) =>
        transaction.Run(
            """
            UPDATE journal_state SET sequence = @next, expires = @expires
            WHERE id = 1 AND holder = @holder AND epoch = @epoch
            """,
            ("next", next),
            ("expires", time.Milliseconds() + DurationMilliseconds),
            ("holder", _holder),
            ("epoch", turn.Epoch)
        ) > 0;

    /// <summary>Lets another have it.</summary>
    public Task ReleaseAsync(CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
                transaction.Run(
                    "UPDATE journal_state SET expires = 0 WHERE id = 1 AND holder = @holder",
                    ("holder", _holder)
                ),
            cancel
        );

    private async Task RenewAsync(JournalTurn turn, CancellationTokenSource working, CancellationToken done)
    {
        try
        {
            while (true)
            {
                await Task.Delay(RenewEvery, time, done);
                if (!await database.WriteAsync(t => Renew(t, turn), done))
                {
                    await working.CancelAsync();
                    return;
                }
            }
        }
        catch (OperationCanceledException) when (done.IsCancellationRequested)
        {
            // The work is over.
        }
        catch (Exception)
        {
            // The database is out of reach: what is written now might be another's to write.
            await working.CancelAsync();
        }
    }

    private bool Renew(DbTransaction transaction, JournalTurn turn) =>
        transaction.Run(
            "UPDATE journal_state SET expires = @expires WHERE id = 1 AND holder = @holder AND epoch = @epoch",
            ("expires", time.Milliseconds() + DurationMilliseconds),
            ("holder", _holder),
            ("epoch", turn.Epoch)
        ) > 0;

    private static (string Holder, long Expires, JournalTurn Turn) State(DbTransaction transaction) =>
        transaction
            .Query(
                "SELECT holder, expires, epoch, sequence FROM journal_state WHERE id = 1",
                row => (row.GetString(0), row.GetInt64(1), new JournalTurn(row.GetInt64(2), row.GetInt64(3)))
            )
            .Single();
}
