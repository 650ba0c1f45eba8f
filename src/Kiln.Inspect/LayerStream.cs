using System.IO.Compression;
using Kiln.Oci;
using ZstdSharp;

namespace Kiln.Inspect;

/// <summary>
/// The plain tar inside a layer or context blob. What the blob is (gzip, zstd, plain) is read from its first bytes: the
/// media type that a client gave it is only a claim.
/// </summary>
public static class LayerStream
{
    // Deflate makes at most 1032 bytes of one, and so should everybody; zstd has no such bound, and a layer that takes it
    // at its word costs hours. What is small may be anything.
    private const int MaxRatio = 1100;
    private const long AnyRatio = 64L << 20;

    // Below what .NET keeps apart as large objects.
    private const int ReadAhead = 64 << 10;

    // What zstd's own program takes; higher ones take far longer for a few per cent.
    private const int ZstdLevel = 3;

    /// <summary>Opens <paramref name="blob"/> for reading its tar; disposing the result disposes the blob.</summary>
    /// <param name="blob">The blob from its first byte; need not be seekable.</param>
    /// <param name="maxBytes">Bytes of plain tar after which reading fails with <see cref="OversizeException"/>.</param>
    public static async Task<Stream> OpenAsync(Stream blob, long maxBytes, CancellationToken cancel)
    {
        var (head, count) = await HeadAsync(blob, cancel);
#pragma warning disable CA2000 // the result owns all of it
        // What unpacks asks for 8 KiB at a time: each would go down through all streams, and mostly wait there.
        var ahead = new BufferedStream(new HeadedStream(head.AsMemory(0, count), blob), ReadAhead);
        var whole = new CountedStream(ahead);
#pragma warning restore CA2000
        Stream plain =
            IsGzip(head) ? new GZipStream(whole, CompressionMode.Decompress)
            : IsZstd(head) ? new DecompressionStream(whole, leaveOpen: false)
            : whole;
        return new BoundedStream(plain, () => Math.Min(maxBytes, AnyRatio + (whole.Count * MaxRatio)), maxBytes);
    }

    /// <summary>Opens a stream that compresses into <paramref name="blob"/>, which stays open; equal bytes give equal blobs.</summary>
    /// <param name="zstd">With zstd, else with gzip.</param>
    public static Stream Pack(Stream blob, bool zstd) =>
        zstd
            ? new CompressionStream(blob, ZstdLevel, leaveOpen: true)
            : new GZipStream(blob, CompressionLevel.Optimal, leaveOpen: true);

    /// <summary>Whether a blob is one that <see cref="OpenAsync"/> unpacks; reads its first bytes.</summary>
    public static async Task<bool> IsCompressedAsync(Stream blob, CancellationToken cancel)
    {
        var (head, _) = await HeadAsync(blob, cancel);
        return IsGzip(head) || IsZstd(head);
    }

    /// <summary>Whether reading what <see cref="OpenAsync"/> opened failed for what is in it, and not for the disk or the network.</summary>
    public static bool IsFault(Exception e) =>
        e is InvalidDataException or EndOfStreamException or OversizeException or ZstdException;

    // RFC 1952, 2.3.1
    private static bool IsGzip(byte[] head) => head is [0x1f, 0x8b, ..];

    // RFC 8878, 3.1.1
    private static bool IsZstd(byte[] head) => head is [0x28, 0xb5, 0x2f, 0xfd];

    private static async Task<(byte[] Head, int Count)> HeadAsync(Stream blob, CancellationToken cancel)
    {
        var head = new byte[4];
        return (head, await blob.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, cancel));
    }
}

/// <summary>Counts what was read through it.</summary>
internal sealed class CountedStream(Stream inner) : WrappingStream(inner)
{
    public long Count { get; private set; }

    public override int Read(Span<byte> buffer)
    {
        var count = Inner.Read(buffer);
        Count += count;
        return count;
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await Inner.ReadAsync(buffer, cancellationToken);
        Count += count;
        return count;
    }
}

/// <summary>A stream whose first bytes were read already.</summary>
internal sealed class HeadedStream(ReadOnlyMemory<byte> head, Stream rest) : WrappingStream(rest)
{
    private ReadOnlyMemory<byte> _head = head;

    public override int Read(Span<byte> buffer)
    {
        if (_head.IsEmpty)
        {
            return Inner.Read(buffer);
        }

        var count = Math.Min(buffer.Length, _head.Length);
        _head.Span[..count].CopyTo(buffer);
        _head = _head[count..];
        return count;
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _head.IsEmpty ? Inner.ReadAsync(buffer, cancellationToken) : ValueTask.FromResult(Read(buffer.Span));
}

/// <summary>A stream that refuses to go on past a number of bytes, so that a few kilobytes cannot unpack to terabytes.</summary>
/// <param name="allowed">How many bytes there may be by now.</param>
/// <param name="maxBytes">How many there may be at most.</param>
internal sealed class BoundedStream(Stream inner, Func<long> allowed, long maxBytes) : WrappingStream(inner)
{
    private long _count;

    public override int Read(Span<byte> buffer) => Count(Inner.Read(buffer));

    public override async ValueTask<int> ReadAsync(
        Memory<byte> buffer,
        CancellationToken cancellationToken = default
    ) => Count(await Inner.ReadAsync(buffer, cancellationToken));

    private int Count(int count)
    {
        _count += count;
        return _count <= allowed() ? count
            : _count > maxBytes
                ? throw new OversizeException($"the archive is larger than {maxBytes} bytes once unpacked")
            : throw new OversizeException($"the archive unpacks to {_count} bytes and more, which no files do");
    }
}

/// <summary>Reads another stream, which goes with it. The tar reader of .NET reads synchronously, too.</summary>
public abstract class WrappingStream(Stream inner) : ForwardStream
{
    protected Stream Inner { get; } = inner;

    public abstract override int Read(Span<byte> buffer);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Inner.Dispose();
        }

        base.Dispose(disposing);
    }
}

/// <summary>An archive has more bytes than are read.</summary>
public sealed class OversizeException(string message) : Exception(message);
