using System.Buffers;
using System.Net;
using System.Net.Http.Headers;

namespace Kiln.Client.Transport;

/// <summary>A request body of known length, read from a stream that is opened anew for each try.</summary>
internal sealed class BlobContent : HttpContent
{
    private const int BufferBytes = 256 * 1024;
    private readonly Func<CancellationToken, Task<Stream>> _open;
    private readonly long _length;
    private readonly Action _moved;

    public BlobContent(Func<CancellationToken, Task<Stream>> open, long length, Action moved)
    {
        (_open, _length, _moved) = (open, length, moved);
        Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(
        Stream stream,
        TransportContext? context,
        CancellationToken cancellationToken
    )
    {
        await using var source = await _open(cancellationToken);
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            for (int read; (read = await source.ReadAsync(buffer.AsMemory(0, BufferBytes), cancellationToken)) > 0; )
            {
                await stream.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
                _moved();
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = _length;
        return true;
    }
}
