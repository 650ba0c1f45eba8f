using System.Globalization;

namespace Kiln.Cli;

/// <summary>Bytes and times as people read them.</summary>
internal static class Sizes
{
    private static readonly string[] Units = ["B", "kB", "MB", "GB", "TB"];

    public static string Text(long bytes)
    {
        double value = bytes;
        var unit = 0;
        for (; value >= 1000 && unit < Units.Length - 1; unit++)
        {
            value /= 1000;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.#} {Units[unit]}");
    }

    public static string Text(TimeSpan time) =>
        time < TimeSpan.Zero ? "0.0s"
        : time < TimeSpan.FromMinutes(1) ? string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0}s")
        : time < TimeSpan.FromHours(1) ? $"{time.Minutes}m{time.Seconds:00}s"
        : $"{(int)time.TotalHours}h{time.Minutes:00}m";
}
