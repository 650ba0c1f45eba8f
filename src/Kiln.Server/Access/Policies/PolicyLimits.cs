using Kiln.Server.Configuration;
using YamlDotNet.RepresentationModel;

namespace Kiln.Server.Access.Policies;

/// <summary>How much of what one caller may do; 0 is no limit.</summary>
internal sealed record PolicyLimits
{
    private const int MaxPerSecond = 1_000_000;

    /// <summary>Requests that a logged-in principal may make in a second, on average.</summary>
    public int RequestsPerSecond { get; init; }

    /// <summary>The same for all anonymous requests of one address.</summary>
    public int AnonymousRequestsPerSecond { get; init; }

    /// <summary>Requests that may come at once before the average counts, as seconds' worth of it.</summary>
    public int BurstSeconds { get; init; } = 10;

    /// <summary>Wrong credentials that one address may present in a minute.</summary>
    public int FailedLoginsPerMinute { get; init; } = 30;

    /// <summary>Reads <c>limits</c> of a policy file.</summary>
    public static PolicyLimits Read(YamlReader yaml, YamlNode node)
    {
        var map = yaml.Map(
            node,
            "limits",
            "requests-per-second",
            "anonymous-requests-per-second",
            "burst-seconds",
            "failed-logins-per-minute"
        );
        var limits = new PolicyLimits();
        return limits with
        {
            RequestsPerSecond = Limit("requests-per-second", limits.RequestsPerSecond),
            AnonymousRequestsPerSecond = Limit("anonymous-requests-per-second", limits.AnonymousRequestsPerSecond),
            BurstSeconds = Math.Max(1, Limit("burst-seconds", limits.BurstSeconds, max: 3600)),
            FailedLoginsPerMinute = Limit("failed-logins-per-minute", limits.FailedLoginsPerMinute),
        };

        int Limit(string key, int standard, int max = MaxPerSecond) =>
            map.TryGetValue(key, out var value) ? yaml.Number(value, key, max, standard) : standard;
    }
}
