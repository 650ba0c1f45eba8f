using System.Security.Cryptography;
using System.Text;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Node.Publishing;

/// <summary>
/// Writes a layer of a build that had one id as it is published: everything is root's, and nothing has what would make its
/// user more than that, set-id bits and capabilities. A program that was to run as somebody in particular would run as root.
/// </summary>
/// <remarks>Headers are changed in place, so that names, times and other attributes stay the bytes that they are.</remarks>
internal sealed class SingleIdLayer : IDisposable
{
    private const int SetIdBits = 0xc00; // 06000

    // POSIX.1-2024, pax, "ustar Header Block": where fields are, and how long.
    private static readonly (int At, int Length) Mode = (100, 8);
    private static readonly (int At, int Length) User = (108, 8);
    private static readonly (int At, int Length) Group = (116, 8);
    private static readonly (int At, int Length) Size = (124, 12);
    private static readonly (int At, int Length) Checksum = (148, 8);
    private static readonly (int At, int Length) Magic = (257, 5);
    private static readonly (int At, int Length) UserName = (265, 32);
    private static readonly (int At, int Length) GroupName = (297, 32);
    private static readonly byte[] Padding = new byte[TarHeader.Block];

    // What a pax header says instead of the header behind it, and file capabilities (capabilities(7)) as Go, and as bsdtar
    // writes them.
    private static readonly string[] Dropped =
    [
        "uid=",
        "gid=",
        "uname=",
        "gname=",
        "SCHILY.xattr.security.capability=",
        "LIBARCHIVE.xattr.security.capability=",
    ];

    private readonly Stream _from;
    private readonly Stream _to;
    private readonly IncrementalHash _hash = Digest.Start(Digest.Sha256);
    private readonly byte[] _header = new byte[TarHeader.Block];
    private readonly byte[] _buffer = new byte[256 << 10];

    private SingleIdLayer(Stream from, Stream to) => (_from, _to) = (from, to);

    /// <summary>Writes a layer, compressed, and returns the digest of its plain tar.</summary>
    /// <param name="layer">A tar, plain or compressed; it is disposed.</param>
    /// <param name="to">Where it goes; it stays open.</param>
    /// <param name="zstd">Compressed with zstd, else with gzip.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="InvalidDataException">It is not a tar.</exception>
    public static async Task<Digest> WriteAsync(Stream layer, Stream to, bool zstd, CancellationToken cancel)
    {
        await using var plain = await LayerStream.OpenAsync(layer, LayerFacts.MaxTarBytes, cancel);
        await using var packed = LayerStream.Pack(to, zstd);
        using var writing = new SingleIdLayer(plain, packed);
        await writing.CopyAsync(cancel);
        return Digest.Finish(Digest.Sha256, writing._hash);
    }

    public void Dispose() => _hash.Dispose();

    private async Task CopyAsync(CancellationToken cancel)
    {
        long? size = null;
        while (
            await _from.ReadAtLeastAsync(_header, _header.Length, throwOnEndOfStream: false, cancel)
                is > 0
                    and var count
        )
        {
            if (_header.AsSpan(0, count).IndexOfAnyExcept((byte)0) < 0)
            {
                // The end marker, and whatever it is filled up with.
                await WriteAsync(_header.AsMemory(0, count), cancel);
                await CopyAsync(long.MaxValue, cancel);
                return;
            }

            if (count < _header.Length || Sum(_header) != TarHeader.Number(Field(Checksum)))
            {
                throw new InvalidDataException("a layer of the build is no tar: it has a header that is damaged");
            }

            var length = TarHeader.Size(_header);
            MakeRoot();
            switch (TarHeader.Type(_header))
            {
                case 'x' or 'g':
                    size = await WritePaxAsync(length, cancel) ?? size;
                    break;
                case 'L' or 'K':
                    await WriteAsync(_header, cancel);
                    await CopyAsync(TarHeader.Padded(length), cancel);
                    break;
                default:
                    await WriteAsync(_header, cancel);
                    await CopyAsync(TarHeader.Padded(size ?? length), cancel);
                    size = null;
                    break;
            }
        }
    }

    // Null where it said no size of the next entry.
    private async Task<long?> WritePaxAsync(long length, CancellationToken cancel)
    {
        if (length > TarHeaderGuard.MaxMetaBytes)
        {
            throw new InvalidDataException($"a layer of the build has a pax header of {length} bytes");
        }

        var pax = new byte[TarHeader.Padded(length)];
        await _from.ReadExactlyAsync(pax, cancel);
        var (size, kept) = Kept(pax.AsSpan(0, (int)length));
        if (kept.Length > 0)
        {
            Set(Size, kept.Length);
            SetChecksum();
            await WriteAsync(_header, cancel);
            await WriteAsync(kept, cancel);
            await WriteAsync(Padding.AsMemory(0, (int)(TarHeader.Padded(kept.Length) - kept.Length)), cancel);
        }

        return size;
    }

    private static (long? Size, byte[] Kept) Kept(ReadOnlySpan<byte> pax)
    {
        var size = TarHeader.SizeIn(pax);
        using var kept = new MemoryStream();
        while (TarHeader.TryTake(ref pax, out var record, out var content))
        {
            var text = Encoding.Latin1.GetString(content);
            if (!Array.Exists(Dropped, d => text.StartsWith(d, StringComparison.Ordinal)))
            {
                kept.Write(record);
            }
        }

        return (size, kept.ToArray());
    }

    private void MakeRoot()
    {
        Set(Mode, TarHeader.Number(Field(Mode)) & ~SetIdBits);
        Set(User, 0);
        Set(Group, 0);
        if (Field(Magic).SequenceEqual("ustar"u8))
        {
            Field(UserName).Clear();
            Field(GroupName).Clear();
        }

        SetChecksum();
    }

    private Span<byte> Field((int At, int Length) field) => _header.AsSpan(field.At, field.Length);

    // Octal digits, and a zero at the end.
    private void Set((int At, int Length) field, long value)
    {
        var digits = Field(field)[..^1];
        for (var i = digits.Length; i-- > 0; value >>= 3)
        {
            digits[i] = (byte)('0' + (value & 7));
        }

        Field(field)[^1] = 0;
    }

    private void SetChecksum()
    {
        var sum = Sum(_header);
        Set((Checksum.At, Checksum.Length - 1), sum);
        _header[Checksum.At + Checksum.Length - 1] = (byte)' ';
    }

    // Of all bytes, the sum's own field being blanks.
    private static long Sum(ReadOnlySpan<byte> header)
    {
        long sum = Checksum.Length * ' ';
        for (var i = 0; i < header.Length; i++)
        {
            sum += i >= Checksum.At && i < Checksum.At + Checksum.Length ? 0 : header[i];
        }

        return sum;
    }

    private async Task CopyAsync(long length, CancellationToken cancel)
    {
        for (var left = length; left > 0; )
        {
            var count = await _from.ReadAsync(_buffer.AsMemory(0, (int)Math.Min(left, _buffer.Length)), cancel);
            if (count == 0)
            {
                return;
            }

            await WriteAsync(_buffer.AsMemory(0, count), cancel);
            left -= count;
        }
    }

    private async Task WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        _hash.AppendData(bytes.Span);
        await _to.WriteAsync(bytes, cancel);
    }
}
