namespace Kiln.Oci;

/// <summary>Texts in which <c>*</c> stands for any characters.</summary>
public static class Glob
{
    /// <summary>
    /// Whether a path is of a form in which <c>*</c> stands for any characters of one component, and <c>**</c> at the end for
    /// one or more components.
    /// </summary>
    public static bool MatchesPath(string path, string pattern)
    {
        var (parts, patterns) = (path.Split('/'), pattern.Split('/'));
        var open = patterns[^1] == "**";
        var least = open ? patterns.Length - 1 : patterns.Length;
        return (open ? parts.Length > least : parts.Length == least)
            && patterns.Take(least).Zip(parts, (p, part) => Matches(part, p)).All(matches => matches);
    }

    public static bool Matches(ReadOnlySpan<char> text, ReadOnlySpan<char> pattern)
    {
        var (t, p, star, mark) = (0, 0, -1, 0);
        while (t < text.Length)
        {
            if (p < pattern.Length && pattern[p] == '*')
            {
                (star, mark) = (p++, t);
            }
            else if (p < pattern.Length && pattern[p] == text[t])
            {
                t++;
                p++;
            }
            else if (star >= 0)
            {
                // What the last star stands for is one character longer than believed.
                (p, t) = (star + 1, ++mark);
            }
            else
            {
                return false;
            }
        }

        return pattern[p..].TrimStart('*').IsEmpty;
    }
}
