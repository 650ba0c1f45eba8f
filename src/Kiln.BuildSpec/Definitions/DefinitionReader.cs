using System.Collections.Frozen;

namespace Kiln.BuildSpec.Definitions;

/// <summary>
/// Splits a definition into stages, headers and sections, as Apptainer does: a stage begins at a line that begins with
/// <c>Bootstrap:</c>, a section at one whose first word begins with <c>%</c>.
/// </summary>
internal static class DefinitionReader
{
    private const string StageStart = "bootstrap:";
    private const int MaxStages = 64;
    private const int MaxSections = 1000;

    // What each header is for; those that there is nothing for here are refused rather than left out of the build.
    private static readonly FrozenSet<string> Headers = new[]
    {
        "bootstrap",
        "from",
        "stage",
        "osversion",
        "mirrorurl",
        "include",
    }.ToFrozenSet(StringComparer.Ordinal);

    public static IReadOnlyList<DefinitionStage> Read(string text, IReadOnlyDictionary<string, string> args)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            throw At(1, "this is not a text file");
        }

        var lines = text.ReplaceLineEndings("\n").Split('\n');
        var starts = Enumerable
            .Range(0, lines.Length)
            .Where(i => lines[i].StartsWith(StageStart, StringComparison.OrdinalIgnoreCase))
            .ToList();
        if (starts.Count is 0 or > MaxStages)
        {
            throw starts.Count == 0
                ? At(1, "there is no line that begins with 'Bootstrap:'")
                : At(starts[MaxStages] + 1, $"there are more than {MaxStages} stages");
        }

        for (var i = 0; i < starts[0]; i++)
        {
            if (lines[i].Trim() is { Length: > 0 } early && !early.StartsWith('#'))
            {
                throw At(i + 1, "only comments may stand before the first 'Bootstrap:'");
            }
        }

        return
        [
            .. starts.Select(
                (start, i) =>
                    ReadStage(
                        string.Join('\n', lines[start..(i + 1 < starts.Count ? starts[i + 1] : lines.Length)]),
                        args,
                        start + 1
                    )
            ),
        ];
    }

    /// <summary>The name of the section that a trimmed line begins.</summary>
    public static string NameOf(string line) => line[1..].Split([' ', '\t'], 2)[0].ToLowerInvariant();

    public static FormatException At(int line, string what) => new($"line {line}: {what}");

    private static DefinitionStage ReadStage(string written, IReadOnlyDictionary<string, string> args, int firstLine)
    {
        var header = new List<string>();
        var sections = new List<(DefinitionSection Section, List<string> Body)>();
        var line = firstLine;
        foreach (var text in DefinitionArguments.Fill(written, args, firstLine).Split('\n'))
        {
            if (line > firstLine && BeginsStage(text))
            {
                throw At(
                    line,
                    "a line that begins with 'Bootstrap:' begins a stage; an argument's value cannot, nor another spelling"
                );
            }

            if (text.TrimStart() is ['%', ..])
            {
                sections.Add((Begin(text.Trim(), line), []));
            }
            else if (sections.Count == 0)
            {
                header.Add(text);
            }
            else
            {
                sections[^1].Body.Add(text + "\n");
            }

            if (sections.Count > MaxSections)
            {
                throw At(line, $"there are more than {MaxSections} sections");
            }

            line++;
        }

        return new DefinitionStage(
            ReadHeader(header, firstLine),
            [.. sections.Select(s => s.Section with { Body = string.Concat(s.Body) })],
            firstLine
        );
    }

    // Apptainer reads what this one has written with arguments filled in, so a line that it would take for a stage's first is nothing
    // else here. Its regular expression ignores case, to which in Go the long s belongs.
    private static bool BeginsStage(string line) =>
        line.Length >= StageStart.Length
        && line[..StageStart.Length].Replace('\u017f', 's').Equals(StageStart, StringComparison.OrdinalIgnoreCase);

    private static DefinitionSection Begin(string text, int line)
    {
        var name = NameOf(text);
        var comment = text.IndexOf('#', StringComparison.Ordinal);
        var words = comment < 0 ? text : text[..comment];
        var rest = words.Length > name.Length + 1 ? words[(name.Length + 1)..].Trim() : "";
        return new DefinitionSection(name, rest, "", line);
    }

    // KEY: VALUE, continued where the line ends in a backslash.
    private static Dictionary<string, string> ReadHeader(List<string> lines, int firstLine)
    {
        var header = new Dictionary<string, string>(StringComparer.Ordinal);
        var (key, value) = ("", "");
        for (var i = 0; i < lines.Count; i++)
        {
            var text = lines[i].Split('#')[0].Trim();
            if (text.Length == 0)
            {
                continue;
            }

            if (key.Length == 0)
            {
                var colon = text.IndexOf(':', StringComparison.Ordinal);
                key = colon > 0 ? text[..colon].Trim().ToLowerInvariant() : "";
                value = colon > 0 ? text[(colon + 1)..].Trim() : "";
                CheckHeader(key, text, firstLine + i);
            }
            else
            {
                value += text;
            }

            if (value.EndsWith('\\'))
            {
                value = value[..^1];
                continue;
            }

            header[key] = value;
            key = "";
        }

        if (key.Length > 0)
        {
            header[key] = value;
        }

        return header;
    }

    private static void CheckHeader(string key, string text, int line)
    {
        if (key.Length == 0)
        {
            throw At(line, $"'{Short(text)}' is no line of a header; write KEY: VALUE, or begin a section with %");
        }

        if (!Headers.Contains(key))
        {
            throw At(
                line,
                $"the header '{Short(key)}' is not one of those that are understood here: Bootstrap, From, Stage, OSVersion, MirrorURL, Include"
            );
        }
    }

    private static string Short(string text) => text.Length > 40 ? text[..40] + "…" : text;
}
