using System.Text;

namespace Kiln.Server.Metadata.Postgres;

/// <summary>Text that PostgreSQL can keep: Unicode without U+0000.</summary>
internal static class PostgresText
{
    /// <summary>
    /// The text itself where it can be kept, else with a replacement character for each thing that cannot. What comes in
    /// from outside is asked for as it is; nothing that is stored under a name has such characters, so nothing is found.
    /// </summary>
    public static string Clean(string text) => IsClean(text) ? text : Replace(text);

    private static bool IsClean(string text)
    {
        foreach (var c in text)
        {
            if (c == '\0' || char.IsSurrogate(c))
            {
                return false;
            }
        }

        return true;
    }

    // Lone surrogates are replaced as runes are read.
    private static string Replace(string text)
    {
        var clean = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            clean.Append(rune.Value == 0 ? Rune.ReplacementChar : rune);
        }

        return clean.ToString();
    }
}
