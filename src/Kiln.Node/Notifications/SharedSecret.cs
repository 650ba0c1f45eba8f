using System.Security.Cryptography;
using System.Text;

namespace Kiln.Node.Notifications;

/// <summary>
/// What a registry has to send with its notifications: in the header <c>Authorization</c> as it is, after <c>Bearer</c>, as
/// the password of a Basic login, or for those that can send none as the last part of the path.
/// </summary>
internal sealed class SharedSecret
{
    /// <summary>Shorter ones could be guessed.</summary>
    public const int MinLength = 16;

    private const int MaxFileBytes = 4096;
    private readonly byte[][] _known;

    private SharedSecret(IEnumerable<string> secrets) => _known = [.. secrets.Select(Hash)];

    /// <summary>Reads a file: the secret in its first line, perhaps the one before it in its second.</summary>
    /// <exception cref="InvalidDataException">It is not such a file; the message names it, and not its content.</exception>
    public static SharedSecret Read(string file)
    {
        try
        {
            var lines =
                new FileInfo(file).Length > MaxFileBytes
                    ? []
                    : File.ReadAllLines(file).Select(line => line.Trim()).Where(line => line.Length > 0).ToList();
            return lines.Count is 1 or 2 && lines.TrueForAll(line => line.Length >= MinLength)
                ? new SharedSecret(lines)
                : throw new InvalidDataException(
                    $"{file} has no secret of {MinLength} characters or more in its first line; make one with: openssl rand -hex 32"
                );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"cannot read the secret of a registry: {e.Message}", e);
        }
    }

    /// <summary>Whether a request has it.</summary>
    /// <param name="authorization">The value of the header; null where there is none.</param>
    /// <param name="path">The last part of the path; null where there is none.</param>
    public bool IsIn(string? authorization, string? path)
    {
        var found = false;
        foreach (var candidate in Candidates(authorization, path))
        {
            // All of them, and by their hashes, so that how long it takes tells nothing.
            var hash = Hash(candidate);
            foreach (var known in _known)
            {
                found |= CryptographicOperations.FixedTimeEquals(hash, known);
            }
        }

        return found;
    }

    private static IEnumerable<string> Candidates(string? authorization, string? path)
    {
        if (path is not null)
        {
            yield return path;
        }

        if (authorization is null)
        {
            yield break;
        }

        yield return authorization.Trim();
        var (scheme, rest) = authorization.Split(' ', 2) is [var first, var second] ? (first, second.Trim()) : ("", "");
        if (scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase))
        {
            yield return rest;
        }

        if (scheme.Equals("Basic", StringComparison.OrdinalIgnoreCase) && PasswordOf(rest) is { } password)
        {
            yield return password;
        }
    }

    private static string? PasswordOf(string login)
    {
        var bytes = new byte[login.Length];
        return
            Convert.TryFromBase64String(login, bytes, out var length)
            && Encoding.UTF8.GetString(bytes, 0, length) is var pair
            && pair.IndexOf(':', StringComparison.Ordinal) is var colon and >= 0
            ? pair[(colon + 1)..]
            : null;
    }

    private static byte[] Hash(string text) => SHA256.HashData(Encoding.UTF8.GetBytes(text));
}
