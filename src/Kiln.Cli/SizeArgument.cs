using System.CommandLine.Parsing;
using Kiln.Server;

namespace Kiln.Cli;

/// <summary>Reads sizes from a command line as the configuration has them; the letter of a unit may be small.</summary>
internal static class SizeArgument
{
    /// <summary>The size; with an error in the result where it is none.</summary>
    public static long Parse(ArgumentResult result)
    {
        var text = result.Tokens[0].Value;
        var spelled = text is [.. var digits, 'k' or 'm' or 'g' or 't']
            ? digits + char.ToUpperInvariant(text[^1])
            : text;
        if (ConfigurationValues.Size(spelled) is { } bytes and > 0)
        {
            return bytes;
        }

        result.AddError($"{Arguments.Name(result)}: '{text}' is not a size such as 500M or 8GiB");
        return 0;
    }

    public static long? ParseOptional(ArgumentResult result) => Parse(result);
}
