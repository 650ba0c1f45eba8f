using System.Data.Common;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;

namespace Kiln.Server.Journal;

/// <summary>
/// Keeps the journal from growing for ever: when the segments since the last snapshot weigh more than it, the present state
/// is written as a new one. The one before stays, with what came after it, so that a damaged snapshot loses nothing.
/// </summary>
internal sealed class JournalSnapshot(
    Database database,
    ManifestBytes bytes,
    IJournalStore journal,
    JournalLease lease,
    DataDirectory directory,
    ServerOptions options
)
{
    private const int Page = 1000;

    // Null until the segments have been looked at.
    private long? _logBytes;
    private long _snapshotBytes;

    /// <summary>Notes that lines were written.</summary>
    public void Wrote(long bytes) => _logBytes += bytes;

    /// <summary>Whether a snapshot is to be taken: the journal has grown enough, or has none although there is something.</summary>
    public async Task<bool> IsDueAsync(CancellationToken cancel)
    {
        if (_logBytes is null)
        {
            await LookAsync(cancel);
        }

        return _snapshotBytes == 0
            ? database.Read(c => c.Scalar<long?>("SELECT id FROM repositories LIMIT 1")) is not null
            : _logBytes > Math.Max(options.JournalBytes, _snapshotBytes);
    }

    /// <summary>Writes the present state as a snapshot, and deletes what it and the one before make superfluous.</summary>
    /// <returns>False where the lease was lost.</returns>
    public async Task<bool> TakeAsync(JournalTurn turn, CancellationToken cancel)
    {
        await StoreManifestsAsync(cancel);
        var segment = new JournalSegment(turn.Epoch, turn.Next, IsSnapshot: true);
        var file = Path.Combine(directory.Uploads, Guid.NewGuid().ToString("n"));
        try
        {
            // What is in the outbox now is in the state as well, and is written behind it all the same: so the snapshot
            // before, and what comes after that, say everything too.
            database.ReadAtOnce(connection =>
            {
                using var stream = new BufferedStream(File.Create(file), 1 << 16);
                Write(connection, stream, segment);
                return true;
            });
            await journal.PutAsync(segment, file, cancel);
            var counts = await database.WriteAsync(t => lease.Advance(t, turn, turn.Next), cancel);
            if (counts)
            {
                await DropOldAsync(segment, cancel);
                await LookAsync(cancel);
            }

            return counts;
        }
        finally
        {
            File.Delete(file);
        }
    }

    // Of a registry that had no journal before.
    private async Task StoreManifestsAsync(CancellationToken cancel)
    {
        while (database.Read(c => ManifestBytes.Missing(c, Page / 10)) is { Count: > 0 } missing)
        {
            await bytes.StoreAsync(missing, cancel);
            await bytes.RecordAsync(missing, _ => true, cancel);
        }
    }

    private async Task LookAsync(CancellationToken cancel)
    {
        var segments = await journal.ListAsync(cancel);
        var newest = segments.Where(s => s.Segment.IsSnapshot).OrderBy(s => s.Segment).LastOrDefault();
        _snapshotBytes = newest.Size;
        _logBytes = segments
            .Where(s => !s.Segment.IsSnapshot && (newest.Segment is null || s.Segment.CompareTo(newest.Segment) > 0))
            .Sum(s => s.Size);
    }

    private async Task DropOldAsync(JournalSegment newest, CancellationToken cancel)
    {
        var segments = await journal.ListAsync(cancel);
        var before = segments.Select(s => s.Segment).Where(s => s.IsSnapshot && s.CompareTo(newest) < 0).Max();
        if (before is null)
        {
            return;
        }

        foreach (var (segment, _) in segments)
        {
            if (segment.CompareTo(before) < 0)
            {
                await journal.DeleteAsync(segment, cancel);
            }
        }
    }

    private static void Write(DbConnection connection, Stream stream, JournalSegment segment)
    {
        long number = 0;
        foreach (var entry in NameState.Of(connection, Page))
        {
            JournalLines.Write(stream, segment, ++number, entry);
        }

        JournalLines.Write(stream, segment, ++number, entry: null);
    }
}
