using Kiln.Oci;

namespace Kiln.Client.Registry;

/// <summary>
/// A blob of a registry as a stream that goes on where the connection broke, and that is not longer or shorter than the
/// blob. What is read is not hashed.
/// </summary>
internal sealed class ResumingBlob(
    Descriptor blob,
    Stream first,
    Func<long, CancellationToken, Task<Stream>> open,
    RegistryClientOptions options,
    string action
) : ForwardStream
{
    private Stream? _body = first;
    private long _position;
    private int _attempts = 1;

    public override long Length => blob.Size;
    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            try
            {
                _body ??= await open(_position, cancellationToken);
                var read = await _body.ReadAsync(buffer, cancellationToken);
                _position += read;
                if (_position > blob.Size || (read == 0 && _position < blob.Size && buffer.Length > 0))
                {
                    throw new RegistryException(
                        RegistryFault.Broken,
                        action,
                        $"it has {(read == 0 ? $"only {_position}" : "more")} bytes where {blob.Size} were announced"
                    );
                }

                return read;
            }
            catch (Exception e)
                when (e is IOException or HttpRequestException or RegistryException { Fault: RegistryFault.Unreachable }
                )
            {
                LetGo();
                if (_attempts++ >= options.Attempts)
                {
                    throw e as RegistryException
                        ?? new RegistryException(RegistryFault.Unreachable, action, e.Message, e);
                }
            }

            await Task.Delay(options.FirstPause * _attempts, options.Time, cancellationToken);
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            LetGo();
        }

        base.Dispose(disposing);
    }

    private void LetGo()
    {
        _body?.Dispose();
        _body = null;
    }
}
