using System.Globalization;
using System.Text.RegularExpressions;

namespace Kiln.Server.Journal;

/// <summary>The name of a segment, which orders it among the others.</summary>
/// <param name="Epoch">Of the writer. What a later writer wrote counts, where two overlap.</param>
/// <param name="First">
/// The number of its first line; of a snapshot, the number of the first line that is not in it any more.
/// </param>
internal sealed partial record JournalSegment(long Epoch, long First, bool IsSnapshot) : IComparable<JournalSegment>
{
    public string Name =>
        string.Create(CultureInfo.InvariantCulture, $"{First:D16}-{Epoch:D8}.{(IsSnapshot ? "snapshot" : "log")}");

    public static JournalSegment? Parse(string name) =>
        Grammar().Match(name) is { Success: true } match
        && long.TryParse(match.Groups["first"].Value, CultureInfo.InvariantCulture, out var first)
        && long.TryParse(match.Groups["epoch"].Value, CultureInfo.InvariantCulture, out var epoch)
            ? new JournalSegment(epoch, first, match.Groups["kind"].Value == "snapshot")
            : null;

    public int CompareTo(JournalSegment? other) =>
        other is null ? 1 : (Epoch, First, !IsSnapshot).CompareTo((other.Epoch, other.First, !other.IsSnapshot));

    [GeneratedRegex(
        @"\A(?<first>\d{16,18})-(?<epoch>\d{8,18})\.(?<kind>log|snapshot)\z",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex Grammar();
}

/// <summary>
/// Where the journal's segments are. What a call wrote is durable when it returns. There is one writer; what it leaves
/// half written when it dies stays at the end of its last segment, since the next one begins another.
/// </summary>
internal interface IJournalStore
{
    /// <summary>
    /// Whether a segment can grow. Where it cannot (an object store), each batch of lines is a segment of its own.
    /// </summary>
    bool CanAppend { get; }

    /// <summary>All segments with their sizes in bytes, in no order.</summary>
    Task<IReadOnlyList<(JournalSegment Segment, long Size)>> ListAsync(CancellationToken cancel);

    /// <summary>Adds to the end of a segment, which may be new.</summary>
    Task AppendAsync(JournalSegment segment, ReadOnlyMemory<byte> bytes, CancellationToken cancel);

    /// <summary>Stores a segment whole: nobody sees a part of it.</summary>
    /// <param name="file">A local file with its content, which may be moved away.</param>
    Task PutAsync(JournalSegment segment, string file, CancellationToken cancel);

    /// <summary>Opens a segment from its beginning.</summary>
    Task<Stream> OpenAsync(JournalSegment segment, CancellationToken cancel);

    /// <summary>
    /// Moves all segments to where the journal is not looked for, <c>journal.aside-…</c> beside it, and leaves it empty.
    /// </summary>
    /// <param name="mark">What the new place is known by.</param>
    /// <returns>Where they are; null where there are none.</returns>
    Task<string?> SetAsideAsync(string mark, CancellationToken cancel);

    /// <summary>Deletes a segment; nothing happens where there is none.</summary>
    Task DeleteAsync(JournalSegment segment, CancellationToken cancel);
}
