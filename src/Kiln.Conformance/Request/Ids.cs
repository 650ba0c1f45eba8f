using System.Text.RegularExpressions;

namespace Kiln.Conformance.Request;

/// <summary>The form of ids (G-4).</summary>
internal static partial class Ids
{
    private const int MaxCharacters = 64;

    public static void MustBe(string id)
    {
        if (id.Length > MaxCharacters || !Form().IsMatch(id))
        {
            throw new CheckFailedException($"the id '{id}' is not of the form [a-z0-9]+(-[a-z0-9]+)*, or too long");
        }
    }

    [GeneratedRegex("^[a-z0-9]+(-[a-z0-9]+)*$", RegexOptions.NonBacktracking | RegexOptions.ExplicitCapture)]
    private static partial Regex Form();
}
