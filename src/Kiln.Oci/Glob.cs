namespace Kiln.Oci;

/// <summary>Texts in which <c>*</c> stands for any characters.</summary>
public static class Glob
{
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
