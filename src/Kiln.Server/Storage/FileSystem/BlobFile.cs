using Kiln.Oci;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Storage.FileSystem;

/// <summary>
/// A blob as it is read, from the first byte to the last. What the kernel has in memory comes at once, on the reader's own
/// thread; only what has to come from the disk is waited for on another.
/// </summary>
internal sealed class BlobFile : ForwardStream
{
    private readonly SafeFileHandle _file;
    private long _position;

    /// <param name="offset">The first byte that is read.</param>
    /// <exception cref="FileNotFoundException">There is no such file, or (<see cref="DirectoryNotFoundException"/>) directory.</exception>
    public BlobFile(string path, long offset)
    {
        // Blobs are never written to under their name: to lock one against writers would be a call for nothing.
        _file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        _position = offset;
    }

    public override int Read(Span<byte> buffer)
    {
        var read = RandomAccess.Read(_file, buffer, _position);
        _position += read;
        return read;
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = Posix.ReadCached(_file, buffer.Span, _position);
        if (read < 0)
        {
            read = await RandomAccess.ReadAsync(_file, buffer, _position, cancellationToken);
        }

        _position += read;
        return read;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _file.Dispose();
        }

        base.Dispose(disposing);
    }
}
