using System.Globalization;
using System.Text;

namespace Kiln.Inspect.Rewriting;

/// <summary>
/// Writes entries as POSIX tar (pax): the same entries are the same bytes. Content follows <see cref="WriteAsync"/> by
/// <see cref="ContentAsync"/>, exactly as much as the entry says.
/// </summary>
public sealed class RawTarWriter(Stream tar)
{
    private const int Block = RawTarReader.Block;
    private const int MaxName = 100;
    private const long MaxOctal7 = 0x1fffff;
    private const long MaxOctal11 = 0x1ffffffff;

    private long _left;
    private long _padding;

    /// <summary>Writes the headers of an entry.</summary>
    public async ValueTask WriteAsync(RawEntry entry, CancellationToken cancel)
    {
        var path = entry.IsDirectory ? (entry.Path.Length == 0 ? "./" : entry.Path + "/") : entry.Path;
        if (entry.Type == RawEntry.OldSparse)
        {
            await SparseAsync(entry, path, cancel);
        }
        else
        {
            var records = Records(entry, path);
            if (records.Length > 0)
            {
                // Its own name is nobody's; the one that is usual tells people who look at it what it is for.
                var meta = Header("PaxHeaders/entry", 'x', records.Length);
                await MetaAsync(Sum(meta), records, cancel);
            }

            await tar.WriteAsync(Sum(Header(entry, path)), cancel);
        }

        (_left, _padding) = (entry.Size, (Block - (entry.Size % Block)) % Block);
    }

    /// <summary>Writes content of the last entry.</summary>
    public async ValueTask ContentAsync(ReadOnlyMemory<byte> content, CancellationToken cancel)
    {
        if (content.Length > _left)
        {
            throw new InvalidOperationException("a file has more content than its header says");
        }

        _left -= content.Length;
        await tar.WriteAsync(content, cancel);
        if (_left == 0 && _padding > 0)
        {
            await tar.WriteAsync(new byte[_padding], cancel);
            _padding = 0;
        }
    }

    /// <summary>Writes the end of the archive.</summary>
    public ValueTask FinishAsync(CancellationToken cancel) => tar.WriteAsync(new byte[2 * Block], cancel);

    // Long names go before it in GNU's own form: what reads its map wants to see no other.
    private async ValueTask SparseAsync(RawEntry entry, string path, CancellationToken cancel)
    {
        var name = Encoding.Latin1.GetBytes(path);
        if (name.Length > MaxName)
        {
            await MetaAsync(Sum(Header("././@LongLink", 'L', name.Length + 1)), [.. name, 0], cancel);
        }

        var header = entry.SparseHeader!.AsSpan(0, Block).ToArray();
        header.AsSpan(0, MaxName).Clear();
        name.AsSpan(0, Math.Min(name.Length, MaxName)).CopyTo(header);
        Octal(header, 100, 8, entry.Mode);
        Octal(header, 108, 8, Math.Min(entry.Owner, MaxOctal7));
        Octal(header, 116, 8, Math.Min(entry.Group, MaxOctal7));
        Text(header, 265, 32, entry.OwnerName);
        Text(header, 297, 32, entry.GroupName);
        await tar.WriteAsync(Sum(header), cancel);
        await tar.WriteAsync(entry.SparseHeader.AsMemory(Block), cancel);
    }

    private async ValueTask MetaAsync(byte[] header, byte[] content, CancellationToken cancel)
    {
        await tar.WriteAsync(header, cancel);
        await tar.WriteAsync(content, cancel);
        await tar.WriteAsync(new byte[(Block - (content.Length % Block)) % Block], cancel);
    }

    private static byte[] Records(RawEntry entry, string path)
    {
        using var records = new MemoryStream();
        void Add(string key, string value) => records.Write(Record(key, value));
        // An unknowing program sees the name in the header, one that knows of holes the record's.
        if (path.Length > MaxName && entry.Records.All(r => r.Key != "GNU.sparse.name"))
        {
            Add("path", path);
        }

        if (entry.Target.Length > MaxName)
        {
            Add("linkpath", entry.Target);
        }

        foreach (
            var (key, number, most) in new[]
            {
                ("size", entry.Size, MaxOctal11),
                ("uid", entry.Owner, MaxOctal7),
                ("gid", entry.Group, MaxOctal7),
            }
        )
        {
            if (number > most)
            {
                Add(key, number.ToString(CultureInfo.InvariantCulture));
            }
        }

        if (entry.Modified is < 0 or > MaxOctal11)
        {
            Add("mtime", entry.Modified.ToString(CultureInfo.InvariantCulture));
        }

        foreach (var (key, value) in entry.Records.OrderBy(r => r.Key, StringComparer.Ordinal))
        {
            Add(key, key == "GNU.sparse.name" ? entry.Path : value);
        }

        return records.ToArray();
    }

    // The length counts itself.
    private static byte[] Record(string key, string value)
    {
        var rest = Encoding.Latin1.GetBytes($" {key}={value}\n");
        var length = rest.Length + 1;
        while (length.ToString(CultureInfo.InvariantCulture).Length + rest.Length != length)
        {
            length = length.ToString(CultureInfo.InvariantCulture).Length + rest.Length;
        }

        return [.. Encoding.ASCII.GetBytes(length.ToString(CultureInfo.InvariantCulture)), .. rest];
    }

    private static byte[] Header(RawEntry entry, string path)
    {
        var header = Header(path, entry.Type, Math.Min(entry.Size, MaxOctal11));
        Octal(header, 100, 8, entry.Mode);
        Octal(header, 108, 8, Math.Min(entry.Owner, MaxOctal7));
        Octal(header, 116, 8, Math.Min(entry.Group, MaxOctal7));
        Octal(header, 136, 12, Math.Clamp(entry.Modified, 0, MaxOctal11));
        Text(header, 157, MaxName, entry.Target);
        Text(header, 265, 32, entry.OwnerName);
        Text(header, 297, 32, entry.GroupName);
        if (entry.IsDevice)
        {
            Octal(header, 329, 8, entry.DeviceMajor & MaxOctal7);
            Octal(header, 337, 8, entry.DeviceMinor & MaxOctal7);
        }

        return header;
    }

    private static byte[] Header(string path, char type, long size)
    {
        var header = new byte[Block];
        Text(header, 0, MaxName, path);
        Octal(header, 100, 8, 0x1a4);
        Octal(header, 108, 8, 0);
        Octal(header, 116, 8, 0);
        Octal(header, 124, 12, size);
        Octal(header, 136, 12, 0);
        header[156] = (byte)type;
        "ustar\0"u8.CopyTo(header.AsSpan(257));
        "00"u8.CopyTo(header.AsSpan(263));
        return header;
    }

    private static byte[] Sum(byte[] header)
    {
        header.AsSpan(148, 8).Fill((byte)' ');
        var sum = 0;
        foreach (var b in header)
        {
            sum += b;
        }

        Octal(header, 148, 7, sum);
        return header;
    }

    private static void Octal(byte[] header, int at, int length, long number) =>
        Text(header, at, length, Convert.ToString(number, 8).PadLeft(length - 1, '0') + "\0");

    private static void Text(byte[] header, int at, int length, string text)
    {
        var field = header.AsSpan(at, length);
        field.Clear();
        var bytes = Encoding.Latin1.GetBytes(text);
        bytes.AsSpan(0, Math.Min(bytes.Length, length)).CopyTo(field);
    }
}
