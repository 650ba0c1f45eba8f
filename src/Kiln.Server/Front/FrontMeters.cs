using System.Diagnostics.Metrics;
using Kiln.Server.Metering;

namespace Kiln.Server.Front;

/// <summary>What is counted in front of another registry.</summary>
internal static class FrontMeters
{
    /// <summary>By status: <c>2xx</c> … <c>5xx</c>, <c>none</c> where the registry behind had no answer.</summary>
    public static Counter<long> Passed { get; } =
        Meters.Counter("kiln.front.passed", "{request}", "Requests passed on to the registry behind, by its answer.");

    /// <summary>By outcome: <c>landed</c>, <c>again</c>, <c>failed</c>.</summary>
    public static Counter<long> Landings { get; } =
        Meters.Counter("kiln.front.landings", "{try}", "Tries to bring an image to the registry behind, by outcome.");
}
