using Kiln.Oci;

namespace Kiln.Client.Transport;

/// <summary>A response body whose every read must bring something within a time; disposing it ends the response.</summary>
internal sealed class IdleStream(HttpResponseMessage response, Stream inner, TimeSpan idle, TimeProvider time)
    : ForwardStream
{
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var timer = new CancellationTokenSource(idle, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
        try
        {
            return await inner.ReadAsync(buffer, either.Token);
        }
        catch (OperationCanceledException e)
            when (timer.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new IOException($"nothing came for {idle.TotalSeconds:0} s", e);
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            inner.Dispose();
            response.Dispose();
        }

        base.Dispose(disposing);
    }
}
