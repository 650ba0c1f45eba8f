using System.Security.Cryptography;
using Kiln.Oci;

namespace Kiln.Client.Archives;

/// <summary>
/// A blob as it is read: where its bytes are not those that its descriptor promises, the last of them does not come.
/// </summary>
internal sealed class VerifiedStream(Stream inner, Descriptor blob, string where) : Stream
{
    private readonly IncrementalHash _hash = Digest.Start(blob.Digest.Algorithm);
    private long _position;

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Length => blob.Size;
    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = await inner.ReadAsync(buffer, cancellationToken);
        _hash.AppendData(buffer.Span[..read]);
        _position += read;
        if (_position == blob.Size || (read == 0 && buffer.Length > 0))
        {
            Check();
        }

        return read;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush() { }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            inner.Dispose();
            _hash.Dispose();
        }

        base.Dispose(disposing);
    }

    private void Check()
    {
        var actual = Digest.Finish(blob.Digest.Algorithm, _hash);
        if (actual != blob.Digest || _position != blob.Size)
        {
            throw new RegistryException(
                RegistryFault.Broken,
                $"reading {blob.Digest} of {where}",
                $"its {_position} bytes have the digest {actual}; {blob.Size} bytes with that of its name were promised"
            );
        }
    }
}
