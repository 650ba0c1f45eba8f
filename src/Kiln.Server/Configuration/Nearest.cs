namespace Kiln.Server.Configuration;

/// <summary>Finds what somebody may have meant who wrote a name that is not known.</summary>
internal static class Nearest
{
    /// <summary>The end of a sentence about an unknown name: the one that was meant, or all that there are.</summary>
    public static string Advice(string name, ReadOnlySpan<string> known) =>
        Find(name, known) is { } near ? $"did you mean '{near}'?" : $"there are {string.Join(", ", known)}";

    /// <summary>The known name that is nearest to an unknown one; null where none is near.</summary>
    public static string? Find(string name, ReadOnlySpan<string> known)
    {
        string? best = null;
        // A third of the letters may be wrong, and two in any case: "pol" is no misspelt "policy".
        var least = Math.Max(2, name.Length / 3) + 1;
        foreach (var candidate in known)
        {
            if (Math.Abs(candidate.Length - name.Length) < least && Distance(name, candidate) is var d && d < least)
            {
                (best, least) = (candidate, d);
            }
        }

        return best;
    }

    /// <summary>Letters to add, to take away or to replace (Levenshtein).</summary>
    private static int Distance(string a, string b)
    {
        var row = new int[b.Length + 1];
        for (var j = 0; j <= b.Length; j++)
        {
            row[j] = j;
        }

        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var cost = diagonal + (char.ToLowerInvariant(a[i - 1]) == char.ToLowerInvariant(b[j - 1]) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(cost, Math.Min(row[j], row[j - 1]) + 1);
            }
        }

        return row[b.Length];
    }
}
