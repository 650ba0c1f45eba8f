using Kiln.Server.Journal;
using Kiln.Server.Metadata;
using Kiln.Server.Metadata.Sqlite;
using Kiln.Server.Storage;

namespace Kiln.Server.Checking;

/// <summary>
/// The journal against the database: what a rebuild would make is made beside it, in a file that is thrown away, and the two
/// are compared name by name. What is still in the outbox counts as written.
/// </summary>
internal sealed class JournalCheck(Database database, IJournalStore journal, DataDirectory directory)
{
    private const int Page = 1000;

    // More differences say no more; a repair mends all of them at once.
    private const int MaxDifferences = 20;

    /// <summary>Checks the journal. A repair writes a new snapshot, which is done at the end of the run.</summary>
    public async Task RunAsync(CheckRun run, CancellationToken cancel)
    {
        var file = Path.Combine(directory.Root, "check.db");
        Remove(file);
        try
        {
            using var scratch = new SqliteDatabase(file);
            var reading = new JournalReading(journal);
            await NameRebuild.ReplayAsync(scratch, reading, cancel);
            var outbox = database.Read(c => JournalOutbox.Peek(c, int.MaxValue)).ConvertAll(e => e.Entry);
            await NameRebuild.ApplyAsync(scratch, outbox, cancel);
            foreach (var fault in reading.Faults)
            {
                await run.MendAsync(
                    "journal-damaged",
                    "journal",
                    $"{fault}. Without the database, what these lines say would be lost",
                    "the journal is written anew from the database",
                    () => Task.CompletedTask
                );
            }

            if (reading.TornTails > 0)
            {
                run.Note(
                    "journal-torn",
                    "journal",
                    $"{reading.TornTails} segments end in a line that was not finished: the server was killed while it "
                        + "wrote it",
                    "nothing: it was written again, or waits in the database"
                );
            }

            await CompareAsync(run, scratch);
        }
        finally
        {
            Remove(file);
        }
    }

    private async Task CompareAsync(CheckRun run, Database scratch)
    {
        var differences = scratch.Read(theirs =>
            database.Read(ours =>
                Differences(NameState.Of(ours, Page), NameState.Of(theirs, Page)).Take(MaxDifferences + 1).ToList()
            )
        );
        foreach (var (entry, isInJournal) in differences.Take(MaxDifferences))
        {
            await run.MendAsync(
                isInJournal ? "journal-only" : "journal-lacks",
                Subject(entry),
                isInJournal
                    ? $"the journal has this {entry.Op}, the database has not"
                    : $"the database has this {entry.Op}, the journal has not: it would be lost with the database",
                isInJournal
                    ? "the database counts: the journal is written anew from it. If it is the database that is wrong, make "
                        + "that anew with --rebuild instead"
                    : "the journal is written anew from the database",
                () => Task.CompletedTask
            );
        }

        if (differences.Count > MaxDifferences)
        {
            run.Note("journal-differs", "journal", "there are more differences of this kind", "as the others");
        }
    }

    // Both come in the same order, so that memory does not depend on how much there is.
    private static IEnumerable<(JournalEntry Entry, bool IsInJournal)> Differences(
        IEnumerable<JournalEntry> database,
        IEnumerable<JournalEntry> journal
    )
    {
        using var ours = database.GetEnumerator();
        using var theirs = journal.GetEnumerator();
        var (left, right) = (Next(ours), Next(theirs));
        while (left is not null || right is not null)
        {
            var order =
                left is null ? 1
                : right is null ? -1
                : Compare(left, right);
            if (order < 0 || (order == 0 && Value(left!) != Value(right!)))
            {
                yield return (left!, false);
            }
            else if (order > 0)
            {
                yield return (right!, true);
            }

            left = order <= 0 ? Next(ours) : left;
            right = order >= 0 ? Next(theirs) : right;
        }
    }

    private static JournalEntry? Next(IEnumerator<JournalEntry> entries) => entries.MoveNext() ? entries.Current : null;

    private static int Compare(JournalEntry a, JournalEntry b)
    {
        var byRepository = string.CompareOrdinal(a.Repository, b.Repository);
        var byKind = Rank(a).CompareTo(Rank(b));
        return byRepository != 0 ? byRepository
            : byKind != 0 ? byKind
            : string.CompareOrdinal(a.Tag ?? a.Digest, b.Tag ?? b.Digest);
    }

    private static int Rank(JournalEntry entry) =>
        entry.Op switch
        {
            JournalOps.Repository => 0,
            JournalOps.Link => 1,
            JournalOps.Manifest => 2,
            _ => 3,
        };

    private static string Value(JournalEntry entry) => $"{entry.Digest} {entry.MediaType}";

    private static string Subject(JournalEntry entry) =>
        entry.Tag is { } tag ? $"{entry.Repository}:{tag}"
        : entry.Digest is { } digest ? $"{entry.Repository}@{digest}"
        : entry.Repository;

    private static void Remove(string file)
    {
        foreach (var end in new[] { "", "-wal", "-shm" })
        {
            File.Delete(file + end);
        }
    }
}
