using System.Globalization;
using System.Text;

namespace Kiln.Inspect.Rewriting;

/// <summary>
/// Reads a tar so that it can be written again: .NET's own reader takes names for UTF-8 and loses those that are not. What
/// follows a header is what Go's reader takes it for, with which most clients unpack layers.
/// </summary>
public sealed class RawTarReader(Stream tar)
{
    internal const int Block = 512;
    private const int SparseExtendedAt = 482;
    private const int SparseBlockExtendedAt = 504;

    // So many blocks of a map describe a million parts.
    private const int MaxSparseBlocks = 50_000;

    private readonly byte[] _block = new byte[Block];
    private long _left;
    private long _padding;

    /// <summary>The next entry, past what of the last one's content was not read; null at the end.</summary>
    /// <exception cref="InvalidDataException">The archive is damaged.</exception>
    public async ValueTask<RawEntry?> NextAsync(CancellationToken cancel)
    {
        await SkipAsync(_left + _padding, cancel);
        (_left, _padding) = (0, 0);
        var pax = new Dictionary<string, string>(StringComparer.Ordinal);
        string? longName = null;
        string? longLink = null;
        while (await ReadHeaderAsync(cancel))
        {
            var size = Sized(Number(124, 12));
            switch ((char)_block[156])
            {
                case 'x':
                    ReadRecords(await MetaAsync(size, cancel), pax);
                    break;
                case 'g':
                    // What a whole archive says of itself is no matter of an image's.
                    await MetaAsync(size, cancel);
                    break;
                case 'L':
                    longName = Text(await MetaAsync(size, cancel));
                    break;
                case 'K':
                    longLink = Text(await MetaAsync(size, cancel));
                    break;
                default:
                    return await EntryAsync(pax, longName, longLink, cancel);
            }
        }

        return null;
    }

    /// <summary>Reads on in the content of the last entry; 0 at its end.</summary>
    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancel)
    {
        if (_left == 0)
        {
            return 0;
        }

        var count = await tar.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _left)], cancel);
        if (count == 0)
        {
            throw new InvalidDataException("the archive ends within a file");
        }

        _left -= count;
        return count;
    }

    private async ValueTask<RawEntry> EntryAsync(
        Dictionary<string, string> pax,
        string? longName,
        string? longLink,
        CancellationToken cancel
    )
    {
        string? Take(string key) => pax.Remove(key, out var value) ? value : null;
        var path = Take("path");
        // The name that a file with holes has stands beside the one that unknowing programs see.
        path = pax.GetValueOrDefault("GNU.sparse.name") ?? path ?? longName ?? NameInHeader();
        var type = TypeOf((char)_block[156], path);
        if (TarWalk.Clean(path, path.Length, out var clean) is { } broken)
        {
            throw new InvalidDataException(broken);
        }

        var size = Sized(Numeric(Take("size"), "size") ?? Number(124, 12));
        var hasContent = type is RawEntry.File or RawEntry.OldSparse;
        var entry = new RawEntry
        {
            Path = clean,
            Type = type,
            Mode = (int)Number(100, 8) & 0xfff,
            Owner = Numeric(Take("uid"), "uid") ?? Number(108, 8),
            Group = Numeric(Take("gid"), "gid") ?? Number(116, 8),
            OwnerName = Take("uname") ?? Field(265, 32),
            GroupName = Take("gname") ?? Field(297, 32),
            Modified = Seconds(Take("mtime")) ?? Number(136, 12),
            Target = type is RawEntry.HardLink or RawEntry.SymbolicLink
                ? Take("linkpath") ?? longLink ?? Field(157, 100)
                : "",
            Size = hasContent ? size : 0,
            DeviceMajor = type is RawEntry.CharacterDevice or RawEntry.BlockDevice ? Number(329, 8) : 0,
            DeviceMinor = type is RawEntry.CharacterDevice or RawEntry.BlockDevice ? Number(337, 8) : 0,
            SparseHeader = type == RawEntry.OldSparse ? await SparseAsync(cancel) : null,
            Records = [.. pax.Where(r => r.Key is not ("linkpath" or "atime" or "ctime"))],
        };
        _left = entry.Size;
        _padding = Padding(entry.Size);
        return entry;
    }

    private static char TypeOf(char flag, string path) =>
        flag switch
        {
            // "the name ends with a slash" is how a directory was told from a file before there was a flag for it.
            '0' or '\0' or '7' => path.EndsWith('/') ? RawEntry.Directory : RawEntry.File,
            >= '1' and <= '6' or RawEntry.OldSparse => flag,
            _ => throw new InvalidDataException(
                $"the archive has an entry of the kind '{(char.IsAsciiLetterOrDigit(flag) ? flag : '?')}', which no file is"
            ),
        };

    private async ValueTask<bool> ReadHeaderAsync(CancellationToken cancel)
    {
        var count = await tar.ReadAtLeastAsync(_block, Block, throwOnEndOfStream: false, cancel);
        if (count == 0 || _block.AsSpan(0, count).IndexOfAnyExcept((byte)0) < 0)
        {
            return false;
        }

        if (count < Block)
        {
            throw new InvalidDataException("the archive ends within a header");
        }

        // Old programs have added the bytes up as signed numbers.
        var (sum, signed) = (0L, 0L);
        for (var i = 0; i < Block; i++)
        {
            var value = i is >= 148 and < 156 ? (byte)' ' : _block[i];
            (sum, signed) = (sum + value, signed + (sbyte)value);
        }

        var said = Number(148, 8);
        return said == sum || said == signed ? true : throw new InvalidDataException("a header's checksum is wrong");
    }

    private async ValueTask<byte[]> MetaAsync(long size, CancellationToken cancel)
    {
        if (size > TarHeaderGuard.MaxMetaBytes)
        {
            throw new OversizeException(
                $"the archive has a header of {size} bytes; {TarHeaderGuard.MaxMetaBytes} is the limit"
            );
        }

        var bytes = new byte[size];
        await tar.ReadExactlyAsync(bytes, cancel);
        await SkipAsync(Padding(size), cancel);
        return bytes;
    }

    private async ValueTask<byte[]> SparseAsync(CancellationToken cancel)
    {
        var blocks = new MemoryStream();
        blocks.Write(_block);
        var more = _block[SparseExtendedAt] != 0;
        for (var count = 0; more; count++)
        {
            if (count == MaxSparseBlocks)
            {
                throw new OversizeException("a file has more holes than can be");
            }

            var block = new byte[Block];
            await tar.ReadExactlyAsync(block, cancel);
            blocks.Write(block);
            more = block[SparseBlockExtendedAt] != 0;
        }

        return blocks.ToArray();
    }

    // Records of the form "LENGTH KEYWORD=VALUE\n"; of several of one keyword the last counts.
    private static void ReadRecords(ReadOnlySpan<byte> text, Dictionary<string, string> into)
    {
        while (!text.IsEmpty)
        {
            var space = text.IndexOf((byte)' ');
            if (
                space <= 0
                || !int.TryParse(text[..space], NumberStyles.None, CultureInfo.InvariantCulture, out var length)
                || length <= space + 1
                || length > text.Length
                || text[length - 1] != '\n'
            )
            {
                throw new InvalidDataException("a pax header cannot be read");
            }

            var record = Encoding.Latin1.GetString(text[(space + 1)..(length - 1)]);
            var equals = record.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                throw new InvalidDataException("a pax header cannot be read");
            }

            into[record[..equals]] = record[(equals + 1)..];
            text = text[length..];
        }
    }

    private string NameInHeader()
    {
        var prefix = _block.AsSpan(257, 5).SequenceEqual("ustar"u8) && _block[262] == 0 ? Field(345, 155) : "";
        return prefix.Length == 0 ? Field(0, 100) : $"{prefix}/{Field(0, 100)}";
    }

    private string Field(int at, int length) => Text(_block.AsSpan(at, length));

    private static string Text(ReadOnlySpan<byte> bytes)
    {
        var end = bytes.IndexOf((byte)0);
        return Encoding.Latin1.GetString(end < 0 ? bytes : bytes[..end]);
    }

    // Octal digits, or from the first bit on a binary number.
    private long Number(int at, int length)
    {
        var field = _block.AsSpan(at, length);
        if ((field[0] & 0x80) != 0)
        {
            long binary = (field[0] & 0x40) != 0 ? -1 : 0;
            foreach (var b in field[1..])
            {
                binary = (binary << 8) | b;
            }

            return binary;
        }

        long number = 0;
        foreach (var b in field.Trim(" \0"u8))
        {
            number = b is >= (byte)'0' and <= (byte)'7'
                ? (number << 3) | (long)(b - '0')
                : throw new InvalidDataException("a header has a number that is none");
        }

        return number;
    }

    private static long? Numeric(string? text, string name) =>
        text is null ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
        : throw new InvalidDataException($"a pax header's {name} is not a number");

    // Binary numbers have a sign, and what fills a file up is added.
    private static long Sized(long size) =>
        size is >= 0 and <= long.MaxValue - Block
            ? size
            : throw new InvalidDataException("a header has a size that cannot be");

    private static long? Seconds(string? text) =>
        text is null ? null
        : long.TryParse(
            text.Split('.')[0],
            NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture,
            out var seconds
        )
            ? seconds
        : throw new InvalidDataException("a pax header's mtime is not a number");

    private static long Padding(long size) => (Block - (size % Block)) % Block;

    private async ValueTask SkipAsync(long count, CancellationToken cancel)
    {
        var buffer = new byte[Math.Min(count, 1 << 16)];
        while (count > 0)
        {
            var read = await tar.ReadAsync(buffer.AsMemory(0, (int)Math.Min(count, buffer.Length)), cancel);
            if (read == 0)
            {
                throw new InvalidDataException("the archive ends within a file");
            }

            count -= read;
        }
    }
}
