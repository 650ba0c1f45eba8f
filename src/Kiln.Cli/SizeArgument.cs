using System.CommandLine.Parsing;
using System.Globalization;

namespace Kiln.Cli;

/// <summary>Reads sizes from a command line: bytes, or a number below 2^20 with K, M, G or T (of 1024).</summary>
internal static class SizeArgument
{
    /// <summary>The size; with an error in the result where it is none.</summary>
    public static long Parse(ArgumentResult result)
    {
        var text = result.Tokens[0].Value;
        var shift = text is [.., var last] ? "KMGT".IndexOf(char.ToUpperInvariant(last), StringComparison.Ordinal) : -1;
        var digits = shift < 0 ? text : text[..^1];
        if (
            long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
                && number is > 0 and < 1L << 20
            || (shift < 0 && number > 0)
        )
        {
            return number << ((shift + 1) * 10);
        }

        result.AddError($"'{text}' is not a size such as 500M or 8G");
        return 0;
    }
}
