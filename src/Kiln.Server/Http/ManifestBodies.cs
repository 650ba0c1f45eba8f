using Kiln.Oci;

namespace Kiln.Server.Http;

/// <summary>
/// Bodies of manifests, which have to be in memory as a whole. Small ones, as nearly all are, just come in; of large ones a
/// few at a time do, and the others wait, so that what they need together has a bound. All have to arrive in time: a body
/// that trickles in would keep its place.
/// </summary>
internal sealed class ManifestBodies(ServerOptions options, TimeProvider time) : IDisposable
{
    /// <summary>Bytes up to which a body needs no place.</summary>
    public const int Small = 256 << 10;

    /// <summary>Large bodies at one time.</summary>
    public const int Places = 8;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private readonly SemaphoreSlim _places = new(Places, Places);

    /// <summary>The whole body. Its place, if it needed one, is free again when it is disposed.</summary>
    /// <exception cref="OciException">Over the limit 413, not complete within two minutes 408.</exception>
    public async Task<ManifestBody> ReadAsync(V2Context context)
    {
        // "If … the manifest exceeds the registry's limit, the registry SHOULD respond with 413 Payload Too Large"
        if (context.Request.ContentLength > options.MaxManifestBytes)
        {
            throw TooLarge();
        }

        using var late = new CancellationTokenSource(Patience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, context.Cancel);
        // Not by a token to the read itself: a body whose read was broken off cannot be drained for the answer.
        using var wake = either.Token.Register(context.Request.BodyReader.CancelPendingRead);
        var body = new ManifestBody();
        try
        {
            await FillAsync(body, context, either.Token);
            return body;
        }
        catch (OperationCanceledException)
            when (late.IsCancellationRequested && !context.Cancel.IsCancellationRequested)
        {
            body.Dispose();
            throw new OciException(
                ErrorCodes.BodyTooSlow,
                $"the manifest did not arrive within {Patience.TotalSeconds:0} seconds; nothing was stored, push it again"
            );
        }
        catch
        {
            body.Dispose();
            throw;
        }
    }

    public void Dispose() => _places.Dispose();

    // The announced length is only believed as far as bytes have come.
    private async Task FillAsync(ManifestBody body, V2Context context, CancellationToken cancel)
    {
        var reader = context.Request.BodyReader;
        while (true)
        {
            var result = await reader.ReadAsync(context.Cancel);
            var part = result.Buffer;
            try
            {
                cancel.ThrowIfCancellationRequested();
                await MakeRoomAsync(body, part.Length, cancel);
                foreach (var segment in part)
                {
                    body.Append(segment.Span);
                }
            }
            finally
            {
                reader.AdvanceTo(part.End);
            }

            if (result.IsCompleted)
            {
                return;
            }
        }
    }

    private async Task MakeRoomAsync(ManifestBody body, long more, CancellationToken cancel)
    {
        if (body.Length + more > options.MaxManifestBytes)
        {
            throw TooLarge();
        }

        if (body.Length + more > Small && !body.HasPlace)
        {
            await _places.WaitAsync(cancel);
            body.Take(_places);
        }
    }

    private OciException TooLarge() =>
        new(
            ErrorCodes.ManifestTooLarge,
            $"a manifest may have {options.MaxManifestBytes} bytes at most in this registry"
        );
}

/// <summary>The bytes of one manifest, and the place among the large ones that they have.</summary>
internal sealed class ManifestBody : IDisposable
{
    private readonly MemoryStream _content = new();
    private SemaphoreSlim? _places;

    public long Length => _content.Length;

    public bool HasPlace => _places is not null;

    public ReadOnlyMemory<byte> Content => _content.GetBuffer().AsMemory(0, (int)_content.Length);

    public void Take(SemaphoreSlim places) => _places = places;

    public void Append(ReadOnlySpan<byte> bytes) => _content.Write(bytes);

    public void Dispose()
    {
        _places?.Release();
        _places = null;
        _content.Dispose();
    }
}
