namespace Kiln.Server.Front;

/// <summary>
/// Ends what stands still: bodies of any size may take any time, as long as something moves. Also ends with the client.
/// </summary>
internal sealed class IdleClock : IDisposable
{
    private readonly CancellationTokenSource _silence;
    private readonly CancellationTokenSource _either;
    private readonly CancellationToken _client;
    private readonly TimeSpan _idle;

    public IdleClock(TimeSpan idle, TimeProvider time, CancellationToken client)
    {
        (_idle, _client) = (idle, client);
        _silence = new CancellationTokenSource(idle, time);
        _either = CancellationTokenSource.CreateLinkedTokenSource(_silence.Token, client);
    }

    public CancellationToken Token => _either.Token;

    /// <summary>Whether it was silence that ended it, and not the client.</summary>
    public bool IsOver => _silence.IsCancellationRequested && !_client.IsCancellationRequested;

    /// <summary>Something moved.</summary>
    public void Touch() => _silence.CancelAfter(_idle);

    /// <summary>Nothing is waited for until something moves again.</summary>
    public void Rest() => _silence.CancelAfter(Timeout.InfiniteTimeSpan);

    public void Dispose()
    {
        _either.Dispose();
        _silence.Dispose();
    }
}
