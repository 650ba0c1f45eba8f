namespace Kiln.Client.Transport;

/// <summary>How long a host may say nothing, before it has taken a connection and after.</summary>
internal static class Patience
{
    /// <summary>Does something with a host.</summary>
    /// <param name="host">As <c>host[:port]</c>, for messages.</param>
    /// <param name="options">How long it may say nothing.</param>
    /// <param name="act">Ends with the token; calls the action whenever bytes moved, after which the time is counted anew.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="TimeoutException">It has been silent for <see cref="RegistryClientOptions.IdleTimeout"/>.</exception>
    /// <exception cref="HttpRequestException">
    /// <see cref="HttpRequestError.ConnectionError"/>: it took no connection within
    /// <see cref="RegistryClientOptions.ConnectTimeout"/>.
    /// </exception>
    public static async Task<T> WithAsync<T>(
        string host,
        RegistryClientOptions options,
        Func<Action, CancellationToken, Task<T>> act,
        CancellationToken cancel
    )
    {
        using var timer = new CancellationTokenSource(options.IdleTimeout, options.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancel);
        try
        {
            return await act(() => timer.CancelAfter(options.IdleTimeout), either.Token);
        }
        catch (OperationCanceledException e) when (timer.IsCancellationRequested && !cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"{host} did not answer within {options.IdleTimeout.TotalSeconds:0.#} s", e);
        }
        // So SocketsHttpHandler says that nobody took a connection in time.
        catch (OperationCanceledException e)
            when (e.InnerException is TimeoutException && !cancel.IsCancellationRequested)
        {
            throw new HttpRequestException(
                HttpRequestError.ConnectionError,
                "no connection",
                new TimeoutException($"no connection within {options.ConnectTimeout.TotalSeconds:0.#} s", e)
            );
        }
    }
}
