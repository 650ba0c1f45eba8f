using System.Text;

namespace Kiln.BuildSpec.Definitions;

/// <summary>What a <c>%files</c> section copies.</summary>
/// <param name="Stage">The stage that the files come from; null for the build's context.</param>
/// <param name="Items">Source and destination of each line; a destination that is absent is the source's own path.</param>
/// <param name="Line">Where the section begins.</param>
public sealed record DefinitionFiles(
    string? Stage,
    IReadOnlyList<(string Source, string? Destination, int Line)> Items,
    int Line
)
{
    internal static DefinitionFiles Of(DefinitionSection section)
    {
        var words = section.Arguments.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        var stage = words switch
        {
            [] => null,
            ["from", var name] => name,
            _ => throw DefinitionReader.At(section.Line, "write %files or %files from STAGE"),
        };
        var items = new List<(string, string?, int)>();
        var line = section.Line;
        foreach (var text in section.Body.Split('\n').Select(l => l.Trim()))
        {
            line++;
            if (text.Length == 0 || text[0] == '#')
            {
                continue;
            }

            var parts = Split(text, line);
            items.Add((parts[0], parts.Count > 1 ? parts[1] : null, line));
        }

        return new DefinitionFiles(stage, items, section.Line);
    }

    // At blanks that are not between quotes.
    private static List<string> Split(string text, int line)
    {
        var parts = new List<string>();
        var part = new StringBuilder();
        char? quote = null;
        foreach (var c in text + " ")
        {
            if (c is '"' or '\'' && (quote is null || c == quote))
            {
                quote = quote is null ? c : null;
            }
            else if (c is ' ' or '\t' && quote is null)
            {
                if (part.Length > 0)
                {
                    parts.Add(part.ToString());
                    part.Clear();
                }
            }
            else
            {
                part.Append(c);
            }
        }

        return parts.Count is 1 or 2 && quote is null
            ? parts
            : throw DefinitionReader.At(
                line,
                "a line of %files is a source and perhaps a destination; put names with blanks into double quotes"
            );
    }
}
