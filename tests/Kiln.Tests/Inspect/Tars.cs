using System.Formats.Tar;
using System.IO.Compression;
using System.Text;

namespace Kiln.Tests.Inspect;

/// <summary>Tars made by hand, entry by entry.</summary>
internal sealed class Tars
{
    private readonly MemoryStream _bytes = new();
    private readonly TarWriter _writer;

    public Tars() => _writer = new TarWriter(_bytes, TarEntryFormat.Pax, leaveOpen: true);

    public Tars File(string path, string content = "", int mode = 0x1a4, int owner = 0, int group = 0, long time = 0) =>
        Add(TarEntryType.RegularFile, path, mode, owner, group, time, content: content);

    public Tars Program(string path, byte[] content) =>
        Add(TarEntryType.RegularFile, path, 0x1ed, 0, 0, 0, bytes: content);

    public Tars Directory(string path, int mode = 0x1ed, int owner = 0, int group = 0, long time = 0) =>
        Add(TarEntryType.Directory, path, mode, owner, group, time);

    public Tars Link(string path, string target) => Add(TarEntryType.SymbolicLink, path, 0x1ff, 0, 0, 0, target);

    public Tars HardLink(string path, string target, int mode = 0x1a4) =>
        Add(TarEntryType.HardLink, path, mode, 0, 0, 0, target);

    public Tars Device(string path) => Add(TarEntryType.CharacterDevice, path, 0x1b6, 0, 0, 0);

    public Tars WithCapability(string path) => Add(TarEntryType.RegularFile, path, 0x1ed, 0, 0, 0, capability: true);

    public byte[] Bytes()
    {
        _writer.Dispose();
        return _bytes.ToArray();
    }

    public byte[] Gzip() => Gzip(Bytes());

    public static byte[] Gzip(byte[] tar)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(tar);
        }

        return packed.ToArray();
    }

    public byte[] Zstd()
    {
        using var compressor = new ZstdSharp.Compressor();
        return compressor.Wrap(Bytes()).ToArray();
    }

    // POSIX.1-2024, pax, "ustar Header Block"; a size past its octal digits is binary in GNU's way.
    public static byte[] Header(string name, char type, long size, bool binary)
    {
        var header = new byte[512];
        Encoding.ASCII.GetBytes(name).CopyTo(header, 0);
        Encoding.ASCII.GetBytes("0000644\0").CopyTo(header, 100);
        Encoding.ASCII.GetBytes("0000000\0").CopyTo(header, 108);
        Encoding.ASCII.GetBytes("0000000\0").CopyTo(header, 116);
        Encoding.ASCII.GetBytes(Convert.ToString(size, 8).PadLeft(11, '0')).CopyTo(header, 124);
        if (binary)
        {
            header[124] = 0x80;
            header.AsSpan(125, 11).Clear();
            System.Buffers.Binary.BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(128), size);
        }

        Encoding.ASCII.GetBytes("00000000000\0").CopyTo(header, 136);
        header[156] = (byte)type;
        Encoding.ASCII.GetBytes("ustar\000").CopyTo(header, 257);
        header.AsSpan(148, 8).Fill((byte)' ');
        var sum = header.Sum(b => b);
        Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ").CopyTo(header, 148);
        return header;
    }

    public static byte[] Padded(string text)
    {
        var block = new byte[512];
        Encoding.ASCII.GetBytes(text).CopyTo(block, 0);
        return block;
    }

    private Tars Add(
        TarEntryType type,
        string path,
        int mode,
        int owner,
        int group,
        long time,
        string? target = null,
        string? content = null,
        bool capability = false,
        byte[]? bytes = null
    )
    {
        var attributes = new Dictionary<string, string>(StringComparer.Ordinal);
        if (capability)
        {
            attributes["SCHILY.xattr.security.capability"] = "caps";
        }

#pragma warning disable RS0030 // Extended attributes exist in pax only, and no digest of these archives matters.
        var entry = new PaxTarEntry(type, path, attributes)
#pragma warning restore RS0030
        {
            Mode = (UnixFileMode)mode,
            Uid = owner,
            Gid = group,
            ModificationTime = DateTimeOffset.FromUnixTimeSeconds(time),
        };
        if (target is not null)
        {
            entry.LinkName = target;
        }

        if ((bytes ?? (content is null ? null : Encoding.UTF8.GetBytes(content))) is { } data)
        {
            entry.DataStream = new MemoryStream(data);
        }

        _writer.WriteEntry(entry);
        return this;
    }
}
