using System.Security.Cryptography;
using Kiln.Oci;

namespace Kiln.Inspect.Rewriting;

/// <summary>Hashes what is written through it; what it writes to stays open.</summary>
public sealed class HashingStream(Stream to) : SinkStream
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Of all that was written. Called once.</summary>
    public Digest Digest => Digest.Finish(Digest.Sha256, _hash);

    public override void Flush() => to.Flush();

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        _hash.AppendData(buffer);
        to.Write(buffer);
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        _hash.AppendData(buffer.Span);
        return to.WriteAsync(buffer, cancellationToken);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _hash.Dispose();
        }

        base.Dispose(disposing);
    }
}
