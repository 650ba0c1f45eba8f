using System.Globalization;

namespace Kiln.Server.Collection;

/// <summary>Lengths of time for people.</summary>
internal static class Durations
{
    /// <summary>As <c>30 days</c>, <c>24 h</c>, <c>90 s</c>: in the largest unit of which it is a whole number.</summary>
    public static string Say(TimeSpan time) =>
        time == TimeSpan.Zero ? "0 s"
        : time.Ticks % TimeSpan.TicksPerDay == 0 && time.Days > 1 ? Say(time.TotalDays, "days")
        : time.Ticks % TimeSpan.TicksPerHour == 0 ? Say(time.TotalHours, "h")
        : time.Ticks % TimeSpan.TicksPerMinute == 0 ? Say(time.TotalMinutes, "min")
        : Say(time.TotalSeconds, "s");

    private static string Say(double number, string unit) =>
        string.Create(CultureInfo.InvariantCulture, $"{number:0.###} {unit}");
}
