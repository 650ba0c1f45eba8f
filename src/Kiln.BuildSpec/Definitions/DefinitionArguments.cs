using System.Text;
using System.Text.RegularExpressions;
using Kiln.Oci;

namespace Kiln.BuildSpec.Definitions;

/// <summary>
/// Arguments of definitions: <c>{{ NAME }}</c> stands for what the request gives, or else for what <c>%arguments</c> says.
/// https://apptainer.org/docs/user/main/definition_files.html#templating-and-build-arguments
/// </summary>
public static partial class DefinitionArguments
{
    // Beside what is written in the text, so that a definition of a megabyte does not become one of gigabytes.
    private const int MaxFilledBytes = 4 << 20;

    /// <summary>What a request gives, and what it does not give but the target says, by the names that Dockerfiles know.</summary>
    public static IReadOnlyDictionary<string, string> For(
        IReadOnlyDictionary<string, string> args,
        Platform platform,
        string? microarchitecture
    )
    {
        var all = new Dictionary<string, string>(args, StringComparer.Ordinal);
        all.TryAdd("TARGETPLATFORM", platform.ToString());
        all.TryAdd("TARGETOS", platform.Os);
        all.TryAdd("TARGETARCH", platform.Architecture);
        all.TryAdd("TARGETVARIANT", platform.Variant ?? "");
        all.TryAdd("TARGETMICROARCHITECTURE", microarchitecture ?? "");
        return all;
    }

    /// <summary>The first of the names that a definition has neither a place nor a default for; null where it has for all.</summary>
    public static string? Unknown(string text, IEnumerable<string> names)
    {
        var known = Uses()
            .Matches(text)
            .Select(m => m.Groups["name"].Value)
            .Concat(Defaults(text).Select(d => d.Name))
            .ToHashSet(StringComparer.Ordinal);
        return names.FirstOrDefault(n => !known.Contains(n));
    }

    /// <summary>Fills in the arguments of one stage, which knows its own defaults only.</summary>
    /// <param name="stage">Its text as written.</param>
    /// <param name="given">The request's values.</param>
    /// <param name="firstLine">The line where it begins, for messages.</param>
    /// <exception cref="FormatException">An argument has no value.</exception>
    internal static string Fill(string stage, IReadOnlyDictionary<string, string> given, int firstLine)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in Defaults(stage))
        {
            values[name] = value;
        }

        foreach (var (name, value) in given)
        {
            values[name] =
                value.AsSpan().IndexOfAny('\n', '\r') < 0
                    ? value
                    : throw DefinitionReader.At(firstLine, $"the value of the argument '{name}' has a line break");
        }

        var filled = new StringBuilder();
        var line = firstLine;
        foreach (var text in stage.Split('\n'))
        {
            filled.Append(line == firstLine ? "" : "\n").Append(FillLine(text, values, line));
            line++;
            if (filled.Length > MaxFilledBytes)
            {
                throw DefinitionReader.At(line, "the definition is too large once its arguments are filled in");
            }
        }

        return filled.ToString();
    }

    private static string FillLine(string text, Dictionary<string, string> values, int line)
    {
        // Looked for once: a line of a megabyte has many uses.
        var comment = Comment().Match(text) is { Success: true } begun ? begun.Index + begun.Length : int.MaxValue;
        return Uses()
            .Replace(
                text,
                use =>
                    comment <= use.Index ? use.Value
                    : Value(use.Groups["name"].Value, values, line) is var value && Uses().IsMatch(value)
                        // A default may name other arguments; those of these stay as they are.
                        ? Uses().Replace(value, inner => Value(inner.Groups["name"].Value, values, line))
                    : value
            );
    }

    private static string Value(string name, Dictionary<string, string> values, int line) =>
        values.TryGetValue(name, out var value)
            ? value
            : throw DefinitionReader.At(
                line,
                $"the argument '{name}' has no value; give one with the request, or a default in %arguments of this stage"
            );

    private static IEnumerable<(string Name, string Value)> Defaults(string stage)
    {
        var within = false;
        foreach (var text in stage.Split('\n').Select(l => l.Trim()))
        {
            if (text.StartsWith('%'))
            {
                within = DefinitionReader.NameOf(text) == "arguments";
            }
            else if (within && Assignments().Match(text) is { Success: true } match)
            {
                yield return (match.Groups["name"].Value, match.Groups["value"].Value.Trim());
            }
        }
    }

    [GeneratedRegex(@"\{\{\s*(?<name>\w+)\s*\}\}", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Uses();

    [GeneratedRegex(
        @"^[ \t]*(?<name>\w+)[ \t]*=(?<value>.*)$",
        RegexOptions.ExplicitCapture | RegexOptions.Multiline,
        1000
    )]
    private static partial Regex Assignments();

    [GeneratedRegex("#[^!]", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Comment();
}
