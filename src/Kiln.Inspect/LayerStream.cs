using System.IO.Compression;
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

    /// <summary>Opens <paramref name="blob"/> for reading its tar; disposing the result disposes the blob.</summary>
    /// <param name="blob">The blob from its first byte; need not be seekable.</param>
    /// <param name="maxBytes">Bytes of plain tar after which reading fails with <see cref="OversizeException"/>.</param>
    public static async Task<Stream> OpenAsync(Stream blob, long maxBytes, CancellationToken cancel)
    {
        var head = new byte[4];
        var count = await blob.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, cancel);
        var whole = new CountedStream(new HeadedStream(head.AsMemory(0, count), blob));
        Stream plain = head switch
        {
            // RFC 1952, 2.3.1
            [0x1f, 0x8b, ..] => new GZipStream(whole, CompressionMode.Decompress),
            // RFC 8878, 3.1.1
            [0x28, 0xb5, 0x2f, 0xfd] => new DecompressionStream(whole, leaveOpen: false),
            _ => whole,
        };
        return new BoundedStream(plain, () => Math.Min(maxBytes, AnyRatio + (whole.Count * MaxRatio)), maxBytes);
    }
}

/// <summary>Counts what was read through it.</summary>
internal sealed class CountedStream(Stream inner) : ForwardStream(inner)
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
internal sealed class HeadedStream(ReadOnlyMemory<byte> head, Stream rest) : ForwardStream(rest)
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
internal sealed class BoundedStream(Stream inner, Func<long> allowed, long maxBytes) : ForwardStream(inner)
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

/// <summary>What reading streams have in common: forwards only, and the inner stream goes with them.</summary>
internal abstract class ForwardStream(Stream inner) : Stream
{
    protected Stream Inner { get; } = inner;

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public abstract override int Read(Span<byte> buffer);
    public abstract override ValueTask<int> ReadAsync(
        Memory<byte> buffer,
        CancellationToken cancellationToken = default
    );

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Flush() { }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

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
