using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Kiln.Server.Delivery;

/// <summary>
/// Secrets and signatures by Standard Webhooks: <c>whsec_</c> and base64 of 24 to 64 bytes; <c>v1,</c> and base64 of
/// HMAC-SHA256 over <c>ID.TIMESTAMP.BODY</c>.
/// </summary>
internal static class Signature
{
    public const string SecretPrefix = "whsec_";
    private const int MinBytes = 24;
    private const int MaxBytes = 64;
    private const int MaxFileBytes = 4096;

    /// <summary>A new secret, as it is written.</summary>
    public static string NewSecret() => SecretPrefix + Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));

    /// <summary>The key of a secret; null where it is none.</summary>
    public static byte[]? Parse(string secret)
    {
        var bytes = new byte[MaxBytes];
        return
            secret.StartsWith(SecretPrefix, StringComparison.Ordinal)
            && Convert.TryFromBase64String(secret[SecretPrefix.Length..], bytes, out var length)
            && length >= MinBytes
            ? bytes[..length]
            : null;
    }

    /// <summary>The keys in a file: one, and perhaps the one before it, so that receivers can change over.</summary>
    /// <exception cref="ServerStartException">It cannot be read, or has something else in it.</exception>
    public static IReadOnlyList<byte[]> Read(string file)
    {
        try
        {
            var lines =
                new FileInfo(file).Length > MaxFileBytes
                    ? []
                    : File.ReadAllLines(file).Select(l => l.Trim()).Where(l => l.Length > 0).ToList();
            return lines.Count is 1 or 2 && lines.Select(Parse).ToList() is var keys && !keys.Contains(null)
                ? [.. keys.OfType<byte[]>()]
                : throw new ServerStartException(
                    $"{file} has no secret for a webhook; make one with: echo whsec_$(openssl rand -base64 32)"
                );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot read the secret of a webhook: {e.Message}", e);
        }
    }

    /// <summary>The value of <c>webhook-signature</c>: one signature for each key.</summary>
    /// <param name="timestamp">Unix seconds.</param>
    public static string Of(IReadOnlyList<byte[]> keys, string id, long timestamp, ReadOnlySpan<byte> body)
    {
        var head = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{id}.{timestamp}."));
        byte[] text = [.. head, .. body];
        return string.Join(' ', keys.Select(key => "v1," + Convert.ToBase64String(HMACSHA256.HashData(key, text))));
    }
}
