using Kiln.Client;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>
/// What an upstream could not give a moment ago: whoever wants it now is told the same, so that a thousand who ask do not
/// have it tried a thousand times.
/// </summary>
internal sealed class RememberedFailures(TimeProvider time)
{
    private const int MaxFailures = 10_000;
    private readonly Remembered<RegistryException> _failures = new(time, MaxFailures);

    /// <exception cref="RegistryException">It failed a moment ago.</exception>
    public void Throw(string key)
    {
        if (_failures.TryGet(key, out var failure))
        {
            throw new RegistryException(failure.Fault, failure.Action, failure.Why, failure)
            {
                Host = failure.Host,
                Status = failure.Status,
                Code = failure.Code,
                RetryAfter = failure.RetryAfter,
            };
        }
    }

    /// <summary>Notes a failure. That something is not there is none.</summary>
    public void Keep(string key, RegistryException failure)
    {
        if (failure.Fault != RegistryFault.NotFound)
        {
            // Not longer than the address itself is left alone.
            var age =
                failure.RetryAfter < UpstreamEndpoint.ShortRest ? failure.RetryAfter.Value : UpstreamEndpoint.ShortRest;
            _failures.Keep(key, failure, age);
        }
    }
}
