using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Kiln.Server.Metadata;

namespace Kiln.Server.Journal;

/// <summary>
/// A line of a segment: <c>number, check, JSON of the entry</c>, separated by tabs. The check is of the segment's name,
/// the number and the entry, so that a line that is damaged, torn or in the wrong place is told from a whole one. The last
/// line of a snapshot is an empty entry: a snapshot without it is not whole.
/// </summary>
internal static class JournalLines
{
    /// <summary>The entry that ends a snapshot.</summary>
    public const string End = "end";

    private const int CheckBytes = 8;

    // Repository and tag have limits, and so have digests; anything longer is no line.
    private const int MaxLine = 4096;

    /// <summary>Writes a line.</summary>
    public static void Write(Stream stream, JournalSegment segment, long number, JournalEntry? entry)
    {
        var json = entry is null ? End : JsonSerializer.Serialize(entry, JournalJson.Default.JournalEntry);
        stream.Write(Encoding.UTF8.GetBytes($"{number}\t{Check(segment, number, json)}\t{json}\n"));
    }

    /// <summary>Reads a segment's lines; those that cannot be used come as faults, in their places.</summary>
    public static IEnumerable<JournalLine> Read(Stream stream, JournalSegment segment)
    {
        using var reader = new StreamReader(stream, new UTF8Encoding(false, throwOnInvalidBytes: false));
        var ended = false;
        for (long at = 1; ReadLine(reader) is { } line; at++)
        {
            var parsed = Parse(line, segment, at);
            ended |= parsed.Ends;
            yield return parsed;
        }

        if (segment.IsSnapshot && !ended)
        {
            yield return new JournalLine(0, null, $"{segment.Name} has no end: it is not whole");
        }
    }

    private static JournalLine Parse(string line, JournalSegment segment, long at)
    {
        var where = $"line {at} of {segment.Name}";
        var parts = line.Split('\t', 3);
        if (
            parts.Length < 3
            || !long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
        )
        {
            return new JournalLine(0, null, $"{where} is torn or damaged");
        }

        if (Check(segment, number, parts[2]) != parts[1])
        {
            return new JournalLine(number, null, $"{where} is torn or damaged: its check does not fit");
        }

        try
        {
            return parts[2] == End
                ? new JournalLine(number, null, null) { Ends = true }
                : new JournalLine(number, JsonSerializer.Deserialize(parts[2], JournalJson.Default.JournalEntry), null);
        }
        catch (JsonException e)
        {
            return new JournalLine(number, null, $"{where} is of a form that this kiln does not know: {e.Message}");
        }
    }

    // Bounded: a damaged file may have no line ends.
    private static string? ReadLine(StreamReader reader)
    {
        var line = new StringBuilder();
        for (int c; (c = reader.Read()) >= 0; )
        {
            if (c == '\n')
            {
                return line.ToString();
            }

            if (line.Length < MaxLine)
            {
                line.Append((char)c);
            }
        }

        return line.Length > 0 ? line.ToString() : null;
    }

    private static string Check(JournalSegment segment, long number, string json) =>
        Convert.ToHexStringLower(
            SHA256.HashData(Encoding.UTF8.GetBytes($"{segment.Name}\t{number}\t{json}")).AsSpan(0, CheckBytes)
        );
}

/// <summary>A line that was read: an entry, the end of a snapshot, or what is wrong with it.</summary>
internal sealed record JournalLine(long Number, JournalEntry? Entry, string? Fault)
{
    public bool Ends { get; init; }
}
