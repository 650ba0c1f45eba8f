using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Storage.FileSystem;

/// <summary>
/// A blob as it is read, from the first byte to the last. What the kernel has in memory comes at once, on the reader's own
/// thread; only what has to come from the disk is waited for on another.
/// </summary>
internal sealed class BlobFile : Stream
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

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(Span<byte> buffer)
    {
        var read = RandomAccess.Read(_file, buffer, _position);
        _position += read;
        return read;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

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
            _file.Dispose();
        }

        base.Dispose(disposing);
    }
}
