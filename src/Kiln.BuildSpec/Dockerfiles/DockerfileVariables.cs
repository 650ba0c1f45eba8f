using System.Text;

namespace Kiln.BuildSpec.Dockerfiles;

/// <summary>Variables in <c>FROM</c> lines and global <c>ARG</c>s: <c>$A</c>, <c>${A}</c>, <c>${A:-b}</c>, <c>${A:+b}</c>, quotes.</summary>
internal static class DockerfileVariables
{
    private const int MaxDepth = 8;

    /// <exception cref="FormatException">A variable has no value, or a brace does not close.</exception>
    public static string Expand(string text, IReadOnlyDictionary<string, string> variables, int line, int depth = 0)
    {
        if (depth > MaxDepth)
        {
            throw DockerfileLexer.At(line, "variables are nested too deep");
        }

        var result = new StringBuilder();
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (c is '"' or '\'')
            {
                continue;
            }

            if (c == '\\' && i + 1 < text.Length)
            {
                result.Append(text[++i]);
            }
            else if (c == '$' && i + 1 < text.Length)
            {
                i = AppendVariable(result, text, i + 1, variables, line, depth);
            }
            else
            {
                result.Append(c);
            }
        }

        return result.ToString();
    }

    /// <summary>Splits at white space outside quotes.</summary>
    public static IEnumerable<string> Words(string text)
    {
        var word = new StringBuilder();
        var quote = '\0';
        foreach (var c in text)
        {
            if (quote == '\0' && char.IsWhiteSpace(c))
            {
                if (word.Length > 0)
                {
                    yield return word.ToString();
                    word.Clear();
                }

                continue;
            }

            if (c is '"' or '\'' && (quote == '\0' || quote == c))
            {
                quote = quote == '\0' ? c : '\0';
            }

            word.Append(c);
        }

        if (word.Length > 0)
        {
            yield return word.ToString();
        }
    }

    // Returns the index of the last character that belongs to the variable.
    private static int AppendVariable(
        StringBuilder result,
        string text,
        int start,
        IReadOnlyDictionary<string, string> variables,
        int line,
        int depth
    )
    {
        var braced = text[start] == '{';
        var i = braced ? start + 1 : start;
        var nameStart = i;
        while (i < text.Length && (char.IsAsciiLetterOrDigit(text[i]) || text[i] == '_'))
        {
            i++;
        }

        var name = text[nameStart..i];
        if (!braced)
        {
            result.Append(Value(name, variables, line));
            return i - 1;
        }

        var close = text.IndexOf('}', i);
        if (close < 0)
        {
            throw DockerfileLexer.At(line, $"'${{{name}' does not close");
        }

        var rest = text[i..close];
        var set = variables.TryGetValue(name, out var value) && value.Length > 0;
        result.Append(
            rest switch
            {
                "" => Value(name, variables, line),
                [':', '-', .. var otherwise] => set ? value : Expand(otherwise, variables, line, depth + 1),
                [':', '+', .. var alternative] => set ? Expand(alternative, variables, line, depth + 1) : "",
                ['-', .. var otherwise] => value ?? Expand(otherwise, variables, line, depth + 1),
                _ => throw DockerfileLexer.At(line, $"'${{{name}{rest}}}' is not supported here"),
            }
        );
        return close;
    }

    private static string Value(string name, IReadOnlyDictionary<string, string> variables, int line) =>
        variables.TryGetValue(name, out var value)
            ? value
            : throw DockerfileLexer.At(
                line,
                $"the variable '{name}' has no value; declare it with ARG {name}=… before the first FROM, or pass it as a build argument"
            );
}
