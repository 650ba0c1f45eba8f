using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>
/// The bytes of a blob as they come from an upstream, on their way into the blob store; each is kept for those who wait
/// before it goes on. Where the connection breaks, another one goes on from there.
/// </summary>
internal sealed class FetchBody(
    BlobFetch fetch,
    RemoteBlob blob,
    Func<long, CancellationToken, Task<Stream>> resume,
    string action,
    TimeProvider time
) : ForwardStream
{
    private const int MaxBreaks = 6;
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(8);

    private Stream? _content = blob.Content;
    private long _position;
    private int _breaks;

    /// <summary>In bytes, as the upstream announced it.</summary>
    public long? Size => blob.Size;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            if (await NextAsync(buffer, cancellationToken) is { } read)
            {
                await fetch.KeepAsync(buffer[..read], cancellationToken);
                _position += read;
                _breaks = 0;
                return read;
            }

            var pause = FirstPause * Math.Pow(2, _breaks);
            await Task.Delay(pause < LongestPause ? pause : LongestPause, time, cancellationToken);
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _content?.Dispose();
        }

        base.Dispose(disposing);
    }

    // Null where the connection broke, and another one may do better.
    private async Task<int?> NextAsync(Memory<byte> buffer, CancellationToken cancel)
    {
        int read;
        try
        {
            _content ??= await resume(_position, cancel);
            read = await _content.ReadAsync(buffer, cancel);
            if (read == 0 && _position < blob.Size)
            {
                throw new EndOfStreamException($"only {_position} of {blob.Size} bytes came");
            }
        }
        catch (Exception e) when (e is HttpRequestException or IOException || IsOutage(e))
        {
            await LetGoAsync();
            return ++_breaks <= MaxBreaks && blob.Size is not null
                ? null
                : throw new RegistryException(RegistryFault.Unreachable, action, e.Message, e);
        }

        return _position + read <= (blob.Size ?? long.MaxValue)
            ? read
            : throw new RegistryException(
                RegistryFault.Broken,
                action,
                $"more than the {blob.Size} bytes that were announced came"
            );
    }

    private static bool IsOutage(Exception e) => e is RegistryException registry && Upstream.IsOutage(registry);

    private async Task LetGoAsync()
    {
        if (_content is not null)
        {
            await _content.DisposeAsync();
            _content = null;
        }
    }
}
