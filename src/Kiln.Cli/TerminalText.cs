using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Kiln.Cli;

/// <summary>Makes text of unknown origin safe to show: nothing in it can steer the terminal or turn its reading order.</summary>
internal static partial class TerminalText
{
    /// <summary>
    /// Colour and other escape sequences are dropped; newline and tab stay; any other control character, and the ones
    /// that turn the direction of text, come out visibly as <c>\xNN</c> or <c>\uNNNN</c>.
    /// </summary>
    public static string Escape(string text)
    {
        if (!text.Any(MustGo))
        {
            return text;
        }

        var safe = new StringBuilder(text.Length);
        foreach (var c in Sequence().Replace(text, ""))
        {
            if (!MustGo(c))
            {
                safe.Append(c);
            }
            else if (c < 0x100)
            {
                safe.Append(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}");
            }
            else
            {
                safe.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
            }
        }

        return safe.ToString();
    }

    private static bool MustGo(char c) =>
        (char.IsControl(c) && c is not ('\n' or '\t'))
        || c is (>= '\u202a' and <= '\u202e') or (>= '\u2066' and <= '\u2069') or '\u200e' or '\u200f' or '\u061c';

    // ECMA-48: CSI … final byte; OSC, DCS, SOS, PM and APC up to their terminator on the same line; two-byte escapes.
    [GeneratedRegex(
        @"(\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b[\]PX^_][^\u0007\u001b\n]*(\u0007|\u001b\\)|\u001b[ -/]*[0-Z\\^-~]",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex Sequence();
}
