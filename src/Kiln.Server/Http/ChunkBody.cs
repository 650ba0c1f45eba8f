using Kiln.Oci;

namespace Kiln.Server.Http;

/// <summary>
/// The body of a chunk whose <c>Content-Range</c> says how long it is, where no <c>Content-Length</c> does: not a byte
/// past its range is let through, and a chunk that ends before is told from one that was meant to.
/// </summary>
/// <param name="length">Bytes that the range has.</param>
internal sealed class ChunkBody(Stream inner, long length) : Stream
{
    private readonly byte[] _probe = new byte[1];
    private long _read;

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <exception cref="OciException"><c>SIZE_INVALID</c>, 400: it is shorter or longer.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.IsEmpty)
        {
            return 0;
        }

        if (_read == length)
        {
            return await inner.ReadAsync(_probe, cancellationToken) == 0
                ? 0
                : throw Wrong("more came; the rest was not stored");
        }

        var read = await inner.ReadAsync(buffer[..(int)Math.Min(buffer.Length, length - _read)], cancellationToken);
        _read += read;
        return read > 0 ? read : throw Wrong($"{_read} came; ask the upload for its range");
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush() { }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private OciException Wrong(string what) =>
        new(ErrorCodes.SizeInvalid, $"the Content-Range has {length} bytes, but {what}");
}
