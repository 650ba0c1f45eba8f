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
    /// <summary>
    /// Segments after a snapshot, at which the next one is taken however small they are: each is an object or a file to
    /// open. With those before the snapshot there are twice as many.
    /// </summary>
    public const int MaxSegments = 1000;

    private const int Page = 1000;

    // Null until the segments have been looked at.
    private long? _logBytes;
    private long _snapshotBytes;
    private int _logSegments;
    private bool _isDue;

    /// <summary>Notes that lines were written.</summary>
    /// <param name="bytes">How many bytes.</param>
    /// <param name="anew">They began a segment.</param>
    public void Wrote(long bytes, bool anew)
    {
        _logBytes += bytes;
        _logSegments += anew ? 1 : 0;
    }

    /// <summary>Has the next look find that a snapshot is to be taken, since the journal lacks something.</summary>
    public void Require() => _isDue = true;

    /// <summary>Whether a snapshot is to be taken: the journal has grown enough, or has none although there is something.</summary>
    public async Task<bool> IsDueAsync(CancellationToken cancel)
    {
        if (_isDue)
        {
            return true;
        }

        if (_logBytes is null)
        {
            await LookAsync(cancel);
        }

        return _snapshotBytes == 0
            ? database.Read(c => c.Scalar<long?>("SELECT id FROM repositories LIMIT 1")) is not null
            : _logBytes > Math.Max(options.JournalBytes, _snapshotBytes) || _logSegments >= MaxSegments;
    }

    /// <summary>Writes the present state as a snapshot, and deletes what it and the one before make superfluous.</summary>
    /// <returns>False where the lease was lost.</returns>
    public Task<bool> TakeAsync(JournalTurn turn, CancellationToken cancel) =>
        lease.HoldAsync(turn, token => WriteAsync(turn, token), cancel);

    private async Task<bool> WriteAsync(JournalTurn turn, CancellationToken cancel)
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
                Write(connection, stream, segment, cancel);
                return true;
            });
            await journal.PutAsync(segment, file, cancel);
            var counts = await database.WriteAsync(t => lease.Advance(t, turn, turn.Next), cancel);
            if (counts)
            {
                await DropOldAsync(segment, cancel);
                await LookAsync(cancel);
                _isDue = false;
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
        var last = "";
        while (database.Read(c => ManifestBytes.Missing(c, last, Page / 10)) is { Count: > 0 } missing)
        {
            await bytes.StoreAsync(missing, cancel);
            await bytes.RecordAsync(missing, _ => true, cancel);
            last = missing[^1].Digest.ToString();
        }
    }

    private async Task LookAsync(CancellationToken cancel)
    {
        var segments = await journal.ListAsync(cancel);
        var newest = segments.Where(s => s.Segment.IsSnapshot).OrderBy(s => s.Segment).LastOrDefault();
        _snapshotBytes = newest.Size;
        var since = segments
            .Where(s => !s.Segment.IsSnapshot && (newest.Segment is null || s.Segment.CompareTo(newest.Segment) > 0))
            .ToList();
        (_logBytes, _logSegments) = (since.Sum(s => s.Size), since.Count);
    }

    private async Task DropOldAsync(JournalSegment newest, CancellationToken cancel)
    {
        var segments = await journal.ListAsync(cancel);
        JournalSegment? before = null;
        foreach (
            var snapshot in segments.Select(s => s.Segment).Where(s => s.IsSnapshot && s.CompareTo(newest) < 0).Order()
        )
        {
            // One that is damaged is none: what is older stays until a whole one is between.
            before = await IsWholeAsync(snapshot, cancel) ? snapshot : before;
        }

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

    private async Task<bool> IsWholeAsync(JournalSegment snapshot, CancellationToken cancel)
    {
        await using var stream = await journal.OpenAsync(snapshot, cancel);
        return JournalLines.Read(stream, snapshot).All(line => line.Fault is null);
    }

    private static void Write(DbConnection connection, Stream stream, JournalSegment segment, CancellationToken cancel)
    {
        long number = 0;
        foreach (var entry in NameState.Of(connection, Page))
        {
            cancel.ThrowIfCancellationRequested();
            JournalLines.Write(stream, segment, ++number, entry);
        }

        JournalLines.Write(stream, segment, ++number, entry: null);
    }
}
