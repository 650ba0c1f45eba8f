using Kiln.Server.Configuration;

namespace Kiln.Server;

/// <summary>Sizes and times as the configuration has them, for command lines: all read them in one way.</summary>
public static class ConfigurationValues
{
    /// <summary>Bytes: <c>8GiB</c>, <c>500M</c>, <c>1048576</c>; null for what is no size.</summary>
    public static long? Size(string text) => Kinds.ParseSize(text);

    /// <summary>A size as it would be written.</summary>
    public static string Show(long bytes) => Kinds.ShowSize(bytes);

    /// <summary>What somebody may have meant who wrote a name that is not known; null where none is near.</summary>
    public static string? Nearest(string name, IReadOnlyList<string> known) =>
        Configuration.Nearest.Find(name, [.. known]);

    /// <summary><c>90s</c>, <c>1h30m</c>, <c>7d</c>, and seconds by themselves; null for what is no time.</summary>
    public static TimeSpan? Time(string text) => Kinds.ParseDuration(text);
}
