using Kiln.Oci;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Leases;

/// <summary>Writes into a blob upload, up to a number of bytes.</summary>
internal sealed class UploadStream(IBlobUpload upload, long maxBytes) : Stream
{
    public override bool CanRead => false;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => upload.Length;

    public override long Position
    {
        get => upload.Length;
        set => throw new NotSupportedException();
    }

    public override async ValueTask WriteAsync(
        ReadOnlyMemory<byte> buffer,
        CancellationToken cancellationToken = default
    )
    {
        if (upload.Length + buffer.Length > maxBytes)
        {
            throw new OciException(ErrorCodes.BlobTooLarge, $"a blob may have {maxBytes} bytes at most");
        }

        await upload.AppendAsync(buffer, cancellationToken);
    }

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    // Compressors write their last block synchronously when they are disposed.
    public override void Write(byte[] buffer, int offset, int count) =>
        WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    public override void Flush() { }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
