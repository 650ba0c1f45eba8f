using System.Security.Cryptography;
using Kiln.Oci;

namespace Kiln.Client.Archives;

/// <summary>
/// A blob as it is read: where its bytes are not those that its descriptor promises, the last of them does not come.
/// </summary>
internal sealed class VerifiedStream(Stream inner, Descriptor blob, string where) : ForwardStream
{
    private readonly IncrementalHash _hash = Digest.Start(blob.Digest.Algorithm);
    private long _position;

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
