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
    /// <summary>The section again, in the one way in which Apptainer reads it as it was read here.</summary>
    public string Text =>
        (Stage is null ? "%files\n" : $"%files from {Stage}\n")
        + string.Concat(
            Items.Select(i =>
                // So that no name of the context looks like an option of cp's or a comment of the shell's.
                $"    \"{(Stage is null ? "./" : "")}{i.Source}\"{(i.Destination is null ? "" : $" \"{i.Destination}\"")}\n"
            )
        );

    /// <summary>Reads a section.</summary>
    /// <exception cref="FormatException">What is wrong, and in which line.</exception>
    public static DefinitionFiles Of(DefinitionSection section)
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

    // Words, each of which may be between quotes as a whole. Apptainer knows no single quotes and ends a word at any other; it is
    // given what is read here (Text), so what the two could read in two ways is refused.
    private static List<string> Split(string text, int line)
    {
        var parts = new List<string>();
        var at = 0;
        while (at < text.Length)
        {
            var quoted = text[at] is '"' or '\'';
            var end = quoted ? text.IndexOf(text[at], at + 1) : text.AsSpan(at).IndexOfAny(' ', '\t') + at;
            end = end < at && !quoted ? text.Length : end;
            var word = end < at ? "" : text[(quoted ? at + 1 : at)..end];
            at = quoted ? end + 1 : end;
            if (
                word.Length == 0
                || word.AsSpan().IndexOfAny('"', '\'') >= 0
                || (at < text.Length && text[at] is not (' ' or '\t'))
            )
            {
                throw DefinitionReader.At(
                    line,
                    "a quote in a line of %files is around a whole name, on both sides, and never within one"
                );
            }

            parts.Add(word);
            at += text.AsSpan(at).IndexOfAnyExcept(' ', '\t') is >= 0 and var blanks ? blanks : text.Length - at;
        }

        return parts.Count is 1 or 2
            ? parts
            : throw DefinitionReader.At(
                line,
                "a line of %files is a source and perhaps a destination; put names with blanks into double quotes"
            );
    }
}
