using System.Security.Cryptography;
using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>
/// Ids of jobs, executions, leases and secrets: lower-case base 32, 10 characters of time and 12 random ones, so that
/// they sort by creation and may stand in a path (<c>[a-z0-9]+(-[a-z0-9]+)*</c>, at most 64).
/// </summary>
public static class Ids
{
    private const string Alphabet = "0123456789abcdefghjkmnpqrstvwxyz";

    public static string New(TimeProvider time)
    {
        Span<char> id = stackalloc char[22];
        Write(time.GetUtcNow(), id);
        RandomNumberGenerator.GetItems<char>(Alphabet, id[10..]);
        return new string(id);
    }

    /// <summary>What sorts before every id that is made from then on.</summary>
    public static string Since(DateTimeOffset time)
    {
        Span<char> id = stackalloc char[10];
        Write(time, id);
        return new string(id);
    }

    public static bool IsWellFormed(string text) =>
        text.Length is > 0 and <= 64 && text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-');

    private static void Write(DateTimeOffset time, Span<char> id)
    {
        var milliseconds = time.ToUnixTimeMilliseconds();
        for (var i = 9; i >= 0; i--)
        {
            id[i] = Alphabet[(int)(milliseconds & 31)];
            milliseconds >>= 5;
        }
    }

    /// <summary>The path of a job under a registry.</summary>
    public static string JobPath(RepositoryName repository, string job) => $"/v2/{repository}/_build/v1/jobs/{job}";
}
