using System.Text;
using System.Text.RegularExpressions;

namespace Kiln.Cli.Context;

/// <summary>
/// The patterns of a <c>.containerignore</c> or <c>.dockerignore</c>, with the meaning that they have for docker
/// (<see href="https://docs.docker.com/build/concepts/context/#dockerignore-files"/>, moby/patternmatcher): the last
/// pattern that matches a path or one of its parents decides; <c>!</c> takes back in.
/// </summary>
internal sealed class IgnorePatterns
{
    private static readonly TimeSpan MatchTimeout = TimeSpan.FromSeconds(1);

    private readonly List<(Func<string, bool> Matches, bool TakesBack)> _patterns = [];

    private IgnorePatterns() { }

    public static IgnorePatterns None { get; } = new();

    /// <summary>True where a directory that is left out may still hold something that is not.</summary>
    public bool TakesBack => _patterns.Exists(p => p.TakesBack);

    /// <exception cref="InvalidDataException">A line is not a pattern; the message gives the line.</exception>
    public static IgnorePatterns Parse(IEnumerable<string> lines, string fileName)
    {
        var patterns = new IgnorePatterns();
        var number = 0;
        foreach (var raw in lines)
        {
            number++;
            // Docker's own order: a comment's # stands first on its line, before any space.
            var line = number == 1 ? raw.TrimStart('\ufeff') : raw;
            var text = line.StartsWith('#') ? "" : line.Trim();
            var takesBack = text.StartsWith('!');
            text = takesBack ? text[1..].Trim() : text;
            if (text.Length == 0)
            {
                if (takesBack)
                {
                    throw new InvalidDataException($"{fileName}, line {number}: '!' needs a pattern after it");
                }

                continue;
            }

            try
            {
                patterns._patterns.Add((Matcher(Clean(text)), takesBack));
            }
            catch (ArgumentException e)
            {
                throw new InvalidDataException($"{fileName}, line {number}: '{text}' is not a pattern", e);
            }
        }

        return patterns;
    }

    /// <summary>Whether the path, relative to the context and with <c>/</c>, is left out.</summary>
    public bool IsIgnored(string path)
    {
        var ignored = false;
        foreach (var (matches, takesBack) in _patterns)
        {
            // Only a pattern that would change the verdict is looked at.
            if (takesBack == ignored && MatchesSelfOrParent(matches, path))
            {
                ignored = !takesBack;
            }
        }

        return ignored;
    }

    private static bool MatchesSelfOrParent(Func<string, bool> matches, string path)
    {
        for (var at = path; ; )
        {
            if (matches(at))
            {
                return true;
            }

            var slash = at.LastIndexOf('/');
            if (slash < 0)
            {
                return false;
            }

            at = at[..slash];
        }
    }

    // Go's path.Clean, and without the leading slash: the context is the root.
    private static string Clean(string pattern)
    {
        var parts = new List<string>();
        foreach (var part in pattern.Split('/'))
        {
            if (part == ".." && parts.Count > 0 && parts[^1] != "..")
            {
                parts.RemoveAt(parts.Count - 1);
            }
            else if (part is not ("" or "." or "..") || (part == ".." && !pattern.StartsWith('/')))
            {
                parts.Add(part);
            }
        }

        return string.Join('/', parts);
    }

    private static Func<string, bool> Matcher(string pattern)
    {
        const string Special = "*?[]\\";
        if (!pattern.AsSpan().ContainsAny(Special))
        {
            return path => path == pattern;
        }

        // Docker's own quirk: '**' and then only plain text means "ends with", even within a name.
        if (pattern.StartsWith("**", StringComparison.Ordinal) && !pattern.AsSpan(2).ContainsAny(Special))
        {
            var suffix = pattern[2..];
            return path =>
                path.EndsWith(suffix, StringComparison.Ordinal) || (suffix.StartsWith('/') && path == suffix[1..]);
        }

        var regex = new Regex(ToRegex(pattern), RegexOptions.CultureInvariant | RegexOptions.Singleline, MatchTimeout);
        return regex.IsMatch;
    }

    private static string ToRegex(string pattern)
    {
        var regex = new StringBuilder(@"\A");
        var inClass = false;
        for (var i = 0; i < pattern.Length; i++)
        {
            switch (pattern[i])
            {
                case '*' when !inClass && i + 1 < pattern.Length && pattern[i + 1] == '*':
                    // "**/" is any number of directories, none included; "**" at the end is everything.
                    i += i + 2 < pattern.Length && pattern[i + 2] == '/' ? 2 : 1;
                    regex.Append(i + 1 == pattern.Length ? ".*" : "(.*/)?");
                    break;
                case '*' when !inClass:
                    regex.Append("[^/]*");
                    break;
                case '?' when !inClass:
                    regex.Append("[^/]");
                    break;
                case '\\':
                    i++;
                    regex.Append(
                        i < pattern.Length ? Escaped(pattern[i]) : throw new ArgumentException("ends with \\")
                    );
                    break;
                case '[' when !inClass:
                    inClass = true;
                    regex.Append('[');
                    break;
                case ']' when inClass:
                    inClass = false;
                    regex.Append(']');
                    break;
                case '-' or '^' when inClass:
                    regex.Append(pattern[i]);
                    break;
                default:
                    regex.Append(Escaped(pattern[i]));
                    break;
            }
        }

        return regex.Append(@"\z").ToString();
    }

    // Regex.Escape leaves ']' and '}' alone.
    private static string Escaped(char c) => c is ']' or '}' or '-' ? $"\\{c}" : Regex.Escape(c.ToString());
}
