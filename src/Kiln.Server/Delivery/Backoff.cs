using System.Security.Cryptography;

namespace Kiln.Server.Delivery;

/// <summary>
/// When a delivery is tried again: soon at first, for a receiver that restarts, then over days, for one whose operators sleep
/// (the schedule that Standard Webhooks, "Retries", shows as an example, with one short wait more).
/// </summary>
internal static class Backoff
{
    // In seconds. A fifth more or less by chance, so that what failed together does not come back together.
    private static readonly int[] Waits = [5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
    private const int JitterPercent = 20;

    /// <summary>How long to wait after try number <paramref name="attempt"/>, from 1; null where that was the last one.</summary>
    public static TimeSpan? After(int attempt) =>
        attempt > Waits.Length
            ? null
            : TimeSpan.FromMilliseconds(
                Waits[attempt - 1] * 10L * (100 + RandomNumberGenerator.GetInt32(-JitterPercent, JitterPercent + 1))
            );
}
