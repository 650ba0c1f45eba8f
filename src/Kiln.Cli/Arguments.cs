using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Kiln.Server;

namespace Kiln.Cli;

/// <summary>Options with numbers and times. Without a parser of ours a wrong one would be told in words of .NET.</summary>
internal static class Arguments
{
    /// <summary>An option with a whole number that may be left out.</summary>
    public static Option<int?> Whole(string name, string description, int least = 0) =>
        new(name)
        {
            Description = description,
            HelpName = "N",
            CustomParser = result => (int?)Whole(result, least, int.MaxValue),
        };

    /// <summary>An option with a whole number that is <paramref name="standard"/> where it is left out.</summary>
    public static Option<int> Whole(
        string name,
        string description,
        int least,
        int standard,
        params string[] aliases
    ) =>
        new(name, aliases)
        {
            Description = description,
            HelpName = "N",
            DefaultValueFactory = _ => standard,
            CustomParser = result => (int)Whole(result, least, int.MaxValue),
        };

    /// <summary>An option with a time, as a number of seconds.</summary>
    public static Option<int?> Seconds(string name, string description) =>
        new(name)
        {
            Description = $"{description} For example 2h, 90m, 30s; a number alone is seconds.",
            HelpName = "TIME",
            CustomParser = Seconds,
        };

    /// <summary>A whole number; with an error in the result where it is none.</summary>
    public static long Whole(ArgumentResult result, long least, long most)
    {
        var text = result.Tokens[0].Value;
        if (
            long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            && number >= least
            && number <= most
        )
        {
            return number;
        }

        result.AddError($"{Name(result)}: '{text}' is not a whole number from {least} to {most}");
        return least;
    }

    /// <summary>What the argument belongs to, as it was typed.</summary>
    public static string Name(ArgumentResult result) =>
        result.Parent is OptionResult option
            ? option.IdentifierToken?.Value ?? option.Option.Name
            : result.Argument.Name;

    private static int? Seconds(ArgumentResult result)
    {
        var text = result.Tokens[0].Value;
        if (
            ConfigurationValues.Time(text) is { TotalSeconds: <= int.MaxValue } time
            && time.Ticks % TimeSpan.TicksPerSecond == 0
        )
        {
            return (int)time.TotalSeconds;
        }

        result.AddError($"{Name(result)}: '{text}' is not a time in whole seconds, such as 2h, 90m, 30s or 3600");
        return null;
    }
}
