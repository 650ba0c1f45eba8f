using System.Runtime.CompilerServices;
using Kiln.Server.Metadata;

namespace Kiln.Server.Journal;

/// <summary>
/// Reads the journal: the newest snapshot that is whole, and what was written since. What is damaged is left out and told;
/// where no snapshot is whole, what can be read of the newest.
/// </summary>
internal sealed class JournalReading(IJournalStore journal)
{
    // More would say no more.
    private const int MaxFaults = 100;

    private readonly List<string> _faults = [];

    /// <summary>What could not be used, in sentences.</summary>
    public IReadOnlyList<string> Faults => _faults;

    /// <summary>Lines that were cut off when a writer died. They were written again by the next, if there was one.</summary>
    public int TornTails { get; private set; }

    /// <summary>The largest number and epoch that were seen.</summary>
    public JournalTurn Last { get; private set; } = new(0, 0);

    /// <summary>Whether there is any segment.</summary>
    public bool IsThere { get; private set; }

    /// <summary>The entries, in the order in which they hold.</summary>
    public async IAsyncEnumerable<JournalEntry> EntriesAsync([EnumeratorCancellation] CancellationToken cancel)
    {
        var segments = (await journal.ListAsync(cancel)).Select(s => s.Segment).Order().ToList();
        IsThere = segments.Count > 0;
        if (segments.Count > 0)
        {
            Last = new JournalTurn(segments.Max(s => s.Epoch), segments.Max(s => s.First));
        }

        var start = await ChooseAsync(segments, cancel);
        if (start is not null)
        {
            await foreach (var line in LinesAsync(start, cancel))
            {
                if (line.Entry is { } entry)
                {
                    yield return entry;
                }
            }
        }

        long expected = start?.First ?? 1;
        foreach (var segment in segments.Where(s => !s.IsSnapshot && (start is null || s.CompareTo(start) > 0)))
        {
            Begin(segment, expected);
            await foreach (var line in LinesAsync(segment, cancel))
            {
                Last = Last with { Next = Math.Max(Last.Next, line.Number) };
                if (line.Entry is { } entry && line.Number >= (start?.First ?? 1))
                {
                    expected = line.Number + 1;
                    yield return entry;
                }
            }
        }
    }

    private void Begin(JournalSegment segment, long expected)
    {
        if (segment.First > expected)
        {
            Fault($"lines {expected} to {segment.First - 1}, which come before {segment.Name}, are not there");
        }
    }

    // Whole means read to its end; a journal without any snapshot begins with its first line.
    private async Task<JournalSegment?> ChooseAsync(List<JournalSegment> segments, CancellationToken cancel)
    {
        var snapshots = segments.Where(s => s.IsSnapshot).Reverse().ToList();
        foreach (var snapshot in snapshots)
        {
            string? fault = null;
            await using var stream = await journal.OpenAsync(snapshot, cancel);
            fault = JournalLines.Read(stream, snapshot).Select(line => line.Fault).FirstOrDefault(f => f is not null);
            if (fault is null)
            {
                return snapshot;
            }

            Fault(
                snapshot == snapshots[^1]
                    ? $"{fault}; no other snapshot is left, so that the rest of it is used"
                    : $"{fault}; the snapshot before it and what came since say the same"
            );
        }

        return snapshots.FirstOrDefault();
    }

    private async IAsyncEnumerable<JournalLine> LinesAsync(
        JournalSegment segment,
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        await using var stream = await journal.OpenAsync(segment, cancel);
        string? pending = null;
        foreach (var line in JournalLines.Read(stream, segment))
        {
            if (pending is not null)
            {
                Fault(pending);
            }

            pending = segment.IsSnapshot ? null : line.Fault;
            yield return line;
        }

        // A fault in the very last line is a writer's end.
        TornTails += pending is null ? 0 : 1;
    }

    private void Fault(string sentence)
    {
        if (_faults.Count < MaxFaults && !_faults.Contains(sentence))
        {
            _faults.Add(sentence);
        }
    }
}
