using System.Collections.Concurrent;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>
/// Work that several want done at one time is done once. It goes on when they leave: the next one has use for it.
/// </summary>
internal sealed class Flights<T>
{
    private readonly ConcurrentDictionary<string, Lazy<Task<T>>> _flights = new(StringComparer.Ordinal);

    /// <summary>Waits for the work of that key, which begins now unless it is under way.</summary>
    /// <param name="cancel">Ends the wait, not the work.</param>
    public Task<T> JoinAsync(string key, Func<Task<T>> work, CancellationToken cancel) =>
        _flights.GetOrAdd(key, k => new Lazy<Task<T>>(() => RunAsync(k, work))).Value.WaitAsync(cancel);

    private async Task<T> RunAsync(string key, Func<Task<T>> work)
    {
        try
        {
            return await work();
        }
        finally
        {
            _flights.TryRemove(key, out _);
        }
    }
}
