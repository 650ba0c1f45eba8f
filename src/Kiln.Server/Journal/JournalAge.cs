using System.Data.Common;
using Kiln.Server.Metadata;

namespace Kiln.Server.Journal;

/// <summary>
/// Whether database and journal are of the same time. A database counts what the journal has (its epoch, the number of the
/// next line) before or with what is written there: one that knows less than the journal is of an older backup, and going on
/// with it would write over what the journal alone knows. One that knows more has a journal that lost its end.
/// </summary>
internal sealed class JournalAge(Database database, IJournalStore journal)
{
    // More than a writer writes at once: one of them is of another time then.
    private const int MaxUncounted = 10_000;

    /// <summary>Holds the two against each other. Other servers may write both meanwhile.</summary>
    /// <returns>Whether the journal is to be written anew, since it lacks what the database counts as written.</returns>
    /// <exception cref="ServerStartException">The database is older; the message says what to do.</exception>
    public async Task<bool> CheckAsync(CancellationToken cancel)
    {
        // The journal first: whatever it has by now, a database that is its own knows when it is looked at afterwards.
        var segments = (await journal.ListAsync(cancel)).Select(s => s.Segment).Order().ToList();
        if (segments.Count == 0)
        {
            return false;
        }

        var known = database.Read(State);
        var newest = segments[^1];
        var lines =
            newest.Epoch > known.Epoch
                ? []
                : await TailAsync(segments.Where(s => s.Epoch == known.Epoch), known, cancel);
        var (now, outbox) = database.ReadAtOnce(c =>
            (State(c), lines.Count == 0 ? [] : JournalOutbox.Peek(c, int.MaxValue).Select(e => e.Entry).ToHashSet())
        );
        if (newest.Epoch > now.Epoch || (newest.Epoch == now.Epoch && newest.First > now.Next))
        {
            throw Older($"the journal has {newest.Name}");
        }

        // A writer that died between the line and the count leaves both: the line, and the entry in the outbox.
        if (
            now.Epoch == known.Epoch
            && lines.Find(l => l.Number >= now.Next && !outbox.Contains(l.Entry!)) is { } uncounted
        )
        {
            throw Older($"the journal has line {uncounted.Number}, and the database knows {now.Next - 1}");
        }

        return await EndAsync(segments, cancel) < known.Next - 1;
    }

    private static JournalTurn State(DbConnection connection) =>
        connection
            .Query(
                "SELECT epoch, sequence FROM journal_state WHERE id = 1",
                row => new JournalTurn(row.GetInt64(0), row.GetInt64(1))
            )
            .Single();

    // Lines that the database does not count. In its own epoch only: a later writer wrote again what an earlier one left.
    private async Task<List<JournalLine>> TailAsync(
        IEnumerable<JournalSegment> epoch,
        JournalTurn known,
        CancellationToken cancel
    )
    {
        var logs = epoch.Where(s => !s.IsSnapshot).ToList();
        var lines = new List<JournalLine>();
        foreach (var segment in logs.Skip(logs.FindLastIndex(s => s.First <= known.Next)))
        {
            var more = await ReadAsync(
                segment,
                all => all.Where(l => l.Entry is not null && l.Number >= known.Next).Take(MaxUncounted).ToList(),
                cancel
            );
            lines.AddRange(more ?? []);
            if (lines.Count >= MaxUncounted)
            {
                break;
            }
        }

        return lines;
    }

    // The number of the last line; what a snapshot has counts as written.
    private async Task<long> EndAsync(List<JournalSegment> segments, CancellationToken cancel)
    {
        var end = segments.Max(s => s.First) - 1;
        var last = segments.FindLast(s => !s.IsSnapshot);
        return last is null
            ? end
            : await ReadAsync(
                last,
                all => all.Where(l => l.Fault is null).Select(l => l.Number).Append(end).Max(),
                cancel
            );
    }

    // Nothing where another server has just written a snapshot in the segment's place.
    private async Task<T?> ReadAsync<T>(
        JournalSegment segment,
        Func<IEnumerable<JournalLine>, T> read,
        CancellationToken cancel
    )
    {
        try
        {
            await using var stream = await journal.OpenAsync(segment, cancel);
            return read(JournalLines.Read(stream, segment));
        }
        catch (FileNotFoundException)
        {
            return default;
        }
    }

    private static ServerStartException Older(string why) =>
        new(
            $"the database is older than the journal beside it ({why}), as one of an older backup is; going on with it would "
                + "lose what the journal knows. Use the newest copy of the database, or make it anew from the journal and the "
                + "blobs with: kiln fsck --rebuild. To go back to what this database says, move the journal aside first"
        );
}
