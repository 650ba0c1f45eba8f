using Kiln.Oci;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Client.Archives;

/// <summary>A part of a file as a stream.</summary>
internal sealed class FileSection(string path, long offset, long length) : ForwardStream
{
    private readonly SafeFileHandle _file = File.OpenHandle(path);
    private long _position;

    public override long Length => length;
    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var wanted = (int)Math.Min(buffer.Length, length - _position);
        var read =
            wanted == 0
                ? 0
                : await RandomAccess.ReadAsync(_file, buffer[..wanted], offset + _position, cancellationToken);
        _position += read;
        return read;
    }

    public override int Read(Span<byte> buffer)
    {
        var wanted = (int)Math.Min(buffer.Length, length - _position);
        var read = wanted == 0 ? 0 : RandomAccess.Read(_file, buffer[..wanted], offset + _position);
        _position += read;
        return read;
    }

    protected override void Dispose(bool disposing)
    {
        _file.Dispose();
        base.Dispose(disposing);
    }
}
