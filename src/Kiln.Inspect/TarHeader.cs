using System.Globalization;
using System.Text;

namespace Kiln.Inspect;

/// <summary>The block before each entry of a tar (POSIX.1-2024, pax, "ustar Header Block"), and what a pax header has.</summary>
public static class TarHeader
{
    /// <summary>Bytes of a header; what follows it is filled up to a multiple of that.</summary>
    public const int Block = 512;
    private const int SizeAt = 124;
    private const int SizeLength = 12;
    private const int TypeAt = 156;

    /// <summary>The kind of entry: <c>0</c> is a file, <c>x</c> a pax header.</summary>
    public static char Type(ReadOnlySpan<byte> header) => (char)header[TypeAt];

    /// <summary>Bytes of what follows, as the header says.</summary>
    /// <exception cref="InvalidDataException">It says no number.</exception>
    public static long Size(ReadOnlySpan<byte> header) => Number(header.Slice(SizeAt, SizeLength));

    /// <summary>The same with what it has to be filled up to.</summary>
    public static long Padded(long size) => (size + Block - 1) / Block * Block;

    /// <summary>A number in a header: octal digits, or from the first bit on binary.</summary>
    /// <exception cref="InvalidDataException">It is neither.</exception>
    public static long Number(ReadOnlySpan<byte> field)
    {
        long number = 0;
        if ((field[0] & 0x80) != 0)
        {
            foreach (var b in field[^8..])
            {
                number = (number << 8) | b;
            }

            return number is < 0 or > long.MaxValue - Block
                ? throw new InvalidDataException("an entry's size is not a number")
                : number;
        }

        foreach (var b in field.Trim(" \0"u8))
        {
            number = b is >= (byte)'0' and <= (byte)'7'
                ? (number << 3) | (long)(b - '0')
                : throw new InvalidDataException("an entry's size is not a number");
        }

        return number;
    }

    /// <summary>The size of the entry that comes next, where a pax header says it; the last one of several, as readers take it.</summary>
    /// <exception cref="InvalidDataException">It says no number.</exception>
    public static long? SizeIn(ReadOnlySpan<byte> pax)
    {
        long? size = null;
        while (TryTake(ref pax, out var record))
        {
            if (record.StartsWith("size="u8))
            {
                var value = Encoding.UTF8.GetString(record["size="u8.Length..].TrimEnd("\n"u8));
                size =
                    long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
                    && number < long.MaxValue - Block
                        ? number
                        : throw new InvalidDataException("a pax header's size is not a number");
            }
        }

        return size;
    }

    // The next record, LENGTH KEYWORD=VALUE\n, from its keyword on, with its line end; false where there is none more.
    private static bool TryTake(ref ReadOnlySpan<byte> pax, out ReadOnlySpan<byte> record)
    {
        record = default;
        var space = pax.IndexOf((byte)' ');
        if (
            space <= 0
            || !int.TryParse(pax[..space], NumberStyles.None, CultureInfo.InvariantCulture, out var length)
            || length <= space
            || length > pax.Length
        )
        {
            return false;
        }

        record = pax[(space + 1)..length];
        pax = pax[length..];
        return true;
    }
}
