using System.Collections.Concurrent;
using Kiln.Client;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>
/// Questions to upstreams that several want answered at one time are asked once. It goes on when they leave: the next one has
/// use for it. What failed is not asked again for a moment.
/// </summary>
internal sealed class Flights<T>(TimeProvider time)
{
    private readonly RememberedFailures _failed = new(time);
    private readonly ConcurrentDictionary<string, Lazy<Task<T>>> _flights = new(StringComparer.Ordinal);

    /// <summary>Waits for the work of that key, which begins now unless it is under way.</summary>
    /// <param name="cancel">Ends the wait, not the work.</param>
    /// <exception cref="RegistryException">The upstream has no answer, now or a moment ago.</exception>
    public Task<T> JoinAsync(string key, Func<Task<T>> work, CancellationToken cancel)
    {
        _failed.Throw(key);
        return _flights.GetOrAdd(key, k => new Lazy<Task<T>>(() => RunAsync(k, work))).Value.WaitAsync(cancel);
    }

    private async Task<T> RunAsync(string key, Func<Task<T>> work)
    {
        try
        {
            return await work();
        }
        catch (RegistryException e)
        {
            _failed.Keep(key, e);
            throw;
        }
        finally
        {
            _flights.TryRemove(key, out _);
        }
    }
}
