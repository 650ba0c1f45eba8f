using Kiln.Oci;

namespace Kiln.Server.Http;

/// <summary>
/// The body of a chunk whose <c>Content-Range</c> says how long it is, where no <c>Content-Length</c> does: not a byte
/// past its range is let through, and a chunk that ends before is told from one that was meant to.
/// </summary>
/// <param name="length">Bytes that the range has.</param>
internal sealed class ChunkBody(Stream inner, long length) : ForwardStream
{
    private readonly byte[] _probe = new byte[1];
    private long _read;

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

    private OciException Wrong(string what) =>
        new(ErrorCodes.SizeInvalid, $"the Content-Range has {length} bytes, but {what}");
}
