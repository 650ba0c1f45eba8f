using System.Text;
using System.Text.RegularExpressions;

namespace Kiln.BuildSpec.Dockerfiles;

/// <summary>Splits a Dockerfile into instructions: directives, comments, continued lines, flags, here-documents.</summary>
internal sealed partial class DockerfileLexer
{
    private readonly string[] _lines;
    private readonly List<DockerfileInstruction> _instructions = [];
    private char _escape = '\\';
    private int _next;

    private DockerfileLexer(string text) =>
        _lines = text.Replace("\r\n", "\n", StringComparison.Ordinal).TrimStart('\uFEFF').Split('\n');

    /// <exception cref="FormatException">The text is not a Dockerfile; the message has the line.</exception>
    public static List<DockerfileInstruction> Read(string text)
    {
        var lexer = new DockerfileLexer(text);
        lexer.ReadDirectives();
        while (lexer._next < lexer._lines.Length)
        {
            lexer.ReadInstruction();
        }

        return lexer._instructions;
    }

    // Directives stand before everything else, one a line: # escape=` , # syntax=…
    private void ReadDirectives()
    {
        while (_next < _lines.Length && Directive().Match(_lines[_next]) is { Success: true } match)
        {
            if (string.Equals(match.Groups["name"].Value, "escape", StringComparison.OrdinalIgnoreCase))
            {
                var value = match.Groups["value"].Value;
                _escape = value is "\\" or "`"
                    ? value[0]
                    : throw At(_next + 1, $"the escape directive must be \\ or `, not '{value}'");
            }

            _next++;
        }
    }

    private void ReadInstruction()
    {
        var first = _next;
        var line = _lines[_next++];
        if (line.AsSpan().Trim().Length == 0 || IsComment(line))
        {
            return;
        }

        var joined = new StringBuilder();
        while (Continues(line, out var part))
        {
            joined.Append(part);
            // Comments and empty lines between continued lines are skipped.
            while (_next < _lines.Length && (IsComment(_lines[_next]) || _lines[_next].AsSpan().Trim().Length == 0))
            {
                _next++;
            }

            if (_next >= _lines.Length)
            {
                line = "";
                break;
            }

            line = _lines[_next++];
        }

        joined.Append(line);
        var (name, rest) = SplitWord(joined.ToString().Trim());
        name = name.ToUpperInvariant();
        var flags = new List<DockerfileFlag>();
        if (name != "CMD" && name != "ENTRYPOINT")
        {
            rest = TakeFlags(rest, flags);
        }

        var heredocs = name is "RUN" or "COPY" or "ADD" ? ReadHeredocs(rest, first + 1) : [];
        var raw = string.Join('\n', _lines[first.._next]);
        _instructions.Add(new DockerfileInstruction(name, flags, rest, heredocs, raw, first + 1));
    }

    private bool Continues(string line, out string part)
    {
        var trimmed = line.TrimEnd(' ', '\t');
        var continues = trimmed.Length > 0 && trimmed[^1] == _escape;
        part = continues ? trimmed[..^1] : line;
        return continues;
    }

    private List<DockerfileHeredoc> ReadHeredocs(string arguments, int line)
    {
        var heredocs = new List<DockerfileHeredoc>();
        if (arguments.StartsWith('['))
        {
            return heredocs;
        }

        foreach (Match match in Heredoc().Matches(arguments))
        {
            var word = match.Groups["word"].Value;
            var strip = match.Groups["dash"].Length > 0;
            var body = new StringBuilder();
            while (true)
            {
                if (_next >= _lines.Length)
                {
                    throw At(line, $"the here-document <<{word} does not end");
                }

                var text = strip ? _lines[_next].TrimStart('\t') : _lines[_next];
                _next++;
                if (text == word)
                {
                    break;
                }

                body.Append(text).Append('\n');
            }

            heredocs.Add(new DockerfileHeredoc(word, strip, match.Groups["quote"].Length == 0, body.ToString()));
        }

        return heredocs;
    }

    private static string TakeFlags(string rest, List<DockerfileFlag> flags)
    {
        while (rest.StartsWith("--", StringComparison.Ordinal))
        {
            var (word, after) = SplitWord(rest);
            if (word.Length == 2)
            {
                break;
            }

            var equals = word.IndexOf('=', StringComparison.Ordinal);
            flags.Add(equals < 0 ? new(word[2..], "") : new(word[2..equals], word[(equals + 1)..]));
            rest = after;
        }

        return rest;
    }

    internal static (string First, string Others) SplitWord(string text)
    {
        var end = text.AsSpan().IndexOfAny(' ', '\t');
        return end < 0 ? (text, "") : (text[..end], text[end..].TrimStart(' ', '\t'));
    }

    internal static FormatException At(int line, string what) => new($"line {line}: {what}");

    private static bool IsComment(string line) => line.AsSpan().TrimStart().StartsWith("#");

    [GeneratedRegex(
        @"^#[ \t]*(?<name>[a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(?<value>.+?)[ \t]*$",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex Directive();

    [GeneratedRegex(
        @"(?<!<)<<(?<dash>-?)(?<quote>[""']?)(?<word>[a-zA-Z_][a-zA-Z0-9_]*)\k<quote>(?=\s|$)",
        RegexOptions.ExplicitCapture,
        1000
    )]
    private static partial Regex Heredoc();
}
