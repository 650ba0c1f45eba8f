using Kiln.Oci;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>Reads what has come of a blob, and waits for what has not.</summary>
internal sealed class BlobReader : ForwardStream
{
    private readonly BlobFetch _fetch;
    private readonly SafeFileHandle _spool;
    private readonly bool _held;
    private long _position;
    private bool _closed;

    public BlobReader(BlobFetch fetch, SafeFileHandle spool)
    {
        (_fetch, _spool) = (fetch, spool);
        // The file is closed when the fetch and all of its readers have let go.
        _spool.DangerousAddRef(ref _held);
    }

    /// <summary>Of the whole blob, in bytes.</summary>
    public long Size => _fetch.Size;

    /// <summary>Goes on at a byte of the blob.</summary>
    public void StartAt(long offset) => _position = offset;

    /// <exception cref="OciException">No more bytes come.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            var (readable, isEnd, moved) = _fetch.State();
            if (readable > _position)
            {
                var part = buffer[..(int)Math.Min(buffer.Length, readable - _position)];
                var read = await RandomAccess.ReadAsync(_spool, part, _position, cancellationToken);
                _position += read;
                return read;
            }

            if (isEnd)
            {
                return 0;
            }

            await moved.WaitAsync(cancellationToken);
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (_held && !_closed)
        {
            _closed = true;
            _spool.DangerousRelease();
        }

        base.Dispose(disposing);
    }
}
