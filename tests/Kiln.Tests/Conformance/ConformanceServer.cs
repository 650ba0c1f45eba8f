using Kiln.Conformance;
using Kiln.Server;
using Kiln.Tests.Builds;

namespace Kiln.Tests.Conformance;

/// <summary>A server with all that the checks can look at.</summary>
internal static class ConformanceServer
{
    public static Task<BuildServer> StartAsync() =>
        BuildServer.StartAsync(
            build =>
                build with
                {
                    PullHoldSeconds = 2,
                    MaxAttempts = 2,
                    MaxLogBytes = 64 << 10,
                    Trigger = PushTriggers.On,
                    MaxTriggersPerMinute = 10_000,
                },
            options: options =>
                options with
                {
                    Events = new EventOptions { AllowedAddresses = ["127.0.0.0/8"], MaxHooksInAll = 10_000 },
                }
        );

    /// <summary>A run in two repositories that nobody has used.</summary>
    public static ConformanceOptions Options(Uri url)
    {
        var name = $"c{Guid.NewGuid():N}";
        return new ConformanceOptions
        {
            Url = url,
            Repository = name + "/a",
            OtherRepository = name + "/b",
            Patience = TimeSpan.FromSeconds(30),
        };
    }
}
