using System.Globalization;

namespace Kiln.Server.Http;

/// <summary>What a <c>Range</c> header asks of a blob.</summary>
internal enum RangeAnswer
{
    /// <summary>No range, one of another unit, or several: RFC 9110, 14.2 allows to send the whole.</summary>
    Whole,
    Part,

    /// <summary>416.</summary>
    Unsatisfiable,
}

/// <summary>
/// One range of bytes (RFC 9110, 14.1.2), <see cref="Offset"/> and <see cref="Length"/> in bytes. Unlike the framework's
/// parser, a range that ends before it starts is unsatisfiable, not absent: a client that asked for a part must not
/// take the whole for it.
/// </summary>
internal readonly record struct ByteRange(RangeAnswer Answer, long Offset, long Length)
{
    private static readonly ByteRange Whole = new(RangeAnswer.Whole, 0, 0);
    private static readonly ByteRange Unsatisfiable = new(RangeAnswer.Unsatisfiable, 0, 0);

    /// <param name="header">The header's value; may be empty.</param>
    /// <param name="size">Of the blob, in bytes.</param>
    public static ByteRange Parse(string header, long size)
    {
        if (
            !header.StartsWith("bytes=", StringComparison.OrdinalIgnoreCase)
            || header.Contains(',', StringComparison.Ordinal)
        )
        {
            return Whole;
        }

        var ends = header["bytes=".Length..].Trim().Split('-');
        if (ends.Length != 2)
        {
            return Whole;
        }

        var (first, last) = (Number(ends[0]), Number(ends[1]));
        return (ends[0].Length, ends[1].Length, first, last) switch
        {
            (0, > 0, _, { } suffix) => Part(Math.Max(0, size - suffix), size - 1, size),
            (> 0, 0, { } start, _) => Part(start, size - 1, size),
            (> 0, > 0, { } start, { } end) => Part(start, Math.Min(end, size - 1), size),
            _ => Whole,
        };
    }

    private static ByteRange Part(long start, long end, long size) =>
        start >= size || end < start ? Unsatisfiable : new ByteRange(RangeAnswer.Part, start, end - start + 1);

    // A number past 64 bits is past the end of any blob, too.
    private static long? Number(string text) =>
        text.Length == 0 || !text.All(char.IsAsciiDigit) ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
        : long.MaxValue;
}
