using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Kiln.Server.Configuration;

/// <summary>The kinds of values that there are.</summary>
internal static partial class Kinds
{
    /// <summary><c>true</c> or <c>false</c>.</summary>
    public static Kind<bool> Switch { get; } =
        new WordKind<bool>(
            null,
            (text, _) =>
                text switch
                {
                    "true" => (true, null),
                    "false" => (false, null),
                    _ => (false, $"'{text}' is neither true nor false"),
                },
            () => new JsonObject { ["type"] = "boolean" },
            value => JsonValue.Create(value)
        );

    /// <summary>Any text but none.</summary>
    public static Kind<string> Text { get; } = Checked("TEXT", _ => null);

    /// <summary>A file or folder; relative to the folder of the configuration file, on the command line to the current one.</summary>
    public static Kind<string> File { get; } =
        new WordKind<string>(
            "FILE",
            (text, folder) =>
                text.Length == 0 || text.Contains('\0', StringComparison.Ordinal)
                    ? (null, "must be the name of a file")
                    : (Path.GetFullPath(text, folder), null),
            () => new JsonObject { ["type"] = "string", ["minLength"] = 1 },
            value => JsonValue.Create(value)
        );

    public static Kind<string> Folder { get; } = Named(File, "DIR");

    /// <summary>A list of texts.</summary>
    public static Kind<IReadOnlyList<string>> Texts { get; } = new WordsKind(Text);

    /// <summary>A list of texts, each of which is looked at.</summary>
    public static Kind<IReadOnlyList<string>> ListOf(Kind<string> item) => new WordsKind(item);

    /// <summary>A list of mappings.</summary>
    public static Kind<IReadOnlyList<TItem>> ListOf<TItem>(Shape<TItem> shape, Func<TItem> empty) =>
        new ListKind<TItem>(shape, empty);

    /// <summary>A pattern of repository names, without <c>{user}</c>, since nobody in particular asks.</summary>
    public static Kind<string> Repositories { get; } =
        Checked(
            "PATTERN",
            text =>
                !RepositoryPattern.TryParse(text, out _, out var fault) ? $"'{text}' {fault}"
                : text.Contains("{user}", StringComparison.Ordinal) ? $"'{text}' may not name {{user}} here"
                : null
        );

    /// <summary>A text that something is wrong with, or not.</summary>
    /// <param name="fault">What is wrong, as the end of a sentence; null where nothing is.</param>
    public static Kind<string> Checked(string placeholder, Func<string, string?> fault) =>
        new WordKind<string>(
            placeholder,
            (text, _) =>
                text.Length == 0 ? (null, "must be a text")
                : fault(text) is { } wrong ? (null, wrong)
                : (text, null),
            () => new JsonObject { ["type"] = "string", ["minLength"] = 1 },
            value => JsonValue.Create(value)
        );

    /// <summary>A whole number.</summary>
    public static Kind<int> Whole(int min, int max) =>
        new WordKind<int>(
            "N",
            (text, _) =>
                int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
                && number >= min
                && number <= max
                    ? (number, null)
                    : (0, $"'{text}' is not a whole number from {min} to {max}"),
            () =>
                new JsonObject
                {
                    ["type"] = "integer",
                    ["minimum"] = min,
                    ["maximum"] = max,
                },
            value => JsonValue.Create(value)
        );

    /// <summary>A number of bytes: <c>8GiB</c>, <c>500M</c> (the same as <c>500MiB</c>), <c>1048576</c>.</summary>
    public static Kind<long> Size(long min, long max) =>
        new WordKind<long>(
            "SIZE",
            (text, _) =>
                ParseSize(text) is not { } bytes ? (0, $"'{text}' is not a size such as 500MiB or 8GiB")
                : bytes < min || bytes > max ? (0, $"'{text}' is not from {ShowSize(min)} to {ShowSize(max)}")
                : (bytes, null),
            () =>
                new JsonObject
                {
                    ["type"] = new JsonArray("integer", "string"),
                    ["pattern"] = "^[0-9]+ ?([KMGT]i?B?|kB|B)?$",
                    ["minimum"] = min,
                    ["maximum"] = max,
                },
            value => JsonValue.Create(ShowSize(value))
        );

    /// <summary>A time: <c>90s</c>, <c>1h30m</c>, <c>7d</c>; a number by itself is seconds.</summary>
    public static Kind<TimeSpan> Duration(TimeSpan min, TimeSpan max) =>
        new WordKind<TimeSpan>(
            "TIME",
            (text, _) =>
                ParseDuration(text) is not { } time ? (default, $"'{text}' is not a time such as 30s, 1h30m or 7d")
                : time < min || time > max
                    ? (default, $"'{text}' is not from {ShowDuration(min)} to {ShowDuration(max)}")
                : (time, null),
            () =>
                new JsonObject
                {
                    ["type"] = new JsonArray("integer", "string"),
                    ["pattern"] = "^([0-9]+(ms|s|m|h|d))+$|^[0-9]+$",
                },
            value => JsonValue.Create(ShowDuration(value))
        );

    /// <summary>One of some words.</summary>
    public static Kind<TValue> Choice<TValue>(params (string Word, TValue Value)[] choices) =>
        new WordKind<TValue>(
            string.Join('|', choices.Select(c => c.Word)),
            (text, _) =>
                choices.FirstOrDefault(c => c.Word == text) is { Word: not null } chosen
                    ? (chosen.Value, null)
                    : (
                        default,
                        $"'{text}' is not known; {Nearest.Advice(text, choices.Select(c => c.Word).ToArray())}"
                    ),
            () =>
                new JsonObject
                {
                    ["enum"] = new JsonArray([.. choices.Select(c => (JsonNode?)JsonValue.Create(c.Word))]),
                },
            value => JsonValue.Create(choices.First(c => Equals(c.Value, value)).Word)
        );

    private static WordKind<string> Named(Kind<string> kind, string placeholder) =>
        new(
            placeholder,
            (text, folder) =>
                kind.FromWords([text], folder, out var value) is { } fault ? (null, fault) : (value, null),
            kind.Schema,
            kind.Show
        );

    internal static long? ParseSize(string text)
    {
        var match = SizeGrammar().Match(text);
        if (
            !match.Success
            || !long.TryParse(match.Groups["n"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out var n)
        )
        {
            return null;
        }

        // "M" alone is what the tools of HPC centres and kernels mean by it: 2^20. "MB" is a million.
        var unit = match.Groups["unit"].Value;
        var power = unit.Length == 0 ? 0 : "BKMGT".IndexOf(char.ToUpperInvariant(unit[0]), StringComparison.Ordinal);
        var of = unit is [_, 'B'] ? 1000L : 1024L;
        for (; power > 0; power--)
        {
            if (n > long.MaxValue / of)
            {
                return null;
            }

            n *= of;
        }

        return n;
    }

    internal static string ShowSize(long bytes)
    {
        var unit = 0;
        for (; bytes > 0 && bytes % 1024 == 0 && unit < 4; unit++)
        {
            bytes /= 1024;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{bytes}{(unit == 0 ? "" : "KMGT"[unit - 1] + "iB")}");
    }

    internal static TimeSpan? ParseDuration(string text)
    {
        if (!DurationGrammar().IsMatch(text))
        {
            return null;
        }

        var total = TimeSpan.Zero;
        foreach (Match part in DurationPart().Matches(text))
        {
            // Eight digits of days are more than anybody means, and fewer than a TimeSpan holds.
            var n = long.Parse(part.Groups["n"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture);
            total += part.Groups["unit"].Value switch
            {
                "ms" => TimeSpan.FromMilliseconds(n),
                "m" => TimeSpan.FromMinutes(n),
                "h" => TimeSpan.FromHours(n),
                "d" => TimeSpan.FromDays(Math.Min(n, 1_000_000)),
                _ => TimeSpan.FromSeconds(n),
            };
        }

        return total;
    }

    internal static string ShowDuration(TimeSpan time) =>
        time == TimeSpan.Zero ? "0s"
        : time.Ticks % TimeSpan.TicksPerDay == 0 ? $"{time.Ticks / TimeSpan.TicksPerDay}d"
        : time.Ticks % TimeSpan.TicksPerHour == 0 ? $"{time.Ticks / TimeSpan.TicksPerHour}h"
        : time.Ticks % TimeSpan.TicksPerMinute == 0 ? $"{time.Ticks / TimeSpan.TicksPerMinute}m"
        : time.Ticks % TimeSpan.TicksPerSecond == 0 ? $"{time.Ticks / TimeSpan.TicksPerSecond}s"
        : $"{time.Ticks / TimeSpan.TicksPerMillisecond}ms";

    [GeneratedRegex(@"\A(?<n>[0-9]{1,18}) ?(?<unit>[KMGT]i?B?|kB|B)?\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex SizeGrammar();

    [GeneratedRegex(@"\A([0-9]{1,8}(ms|s|m|h|d)){1,5}\z|\A[0-9]{1,8}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex DurationGrammar();

    [GeneratedRegex("(?<n>[0-9]+)(?<unit>ms|s|m|h|d)?", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex DurationPart();
}
