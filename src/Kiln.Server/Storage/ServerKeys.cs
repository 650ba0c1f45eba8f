using System.Security.Cryptography;
using System.Text;

namespace Kiln.Server.Storage;

/// <summary>
/// The server's secret keys: made of the operator's key file, which all servers of a database are given, or kept in files
/// of their own in the data directory of a server that is alone. They never stand in the database, beside what they encrypt.
/// </summary>
internal sealed class ServerKeys(DataDirectory directory, ServerOptions options)
{
    /// <summary>Encrypts build secrets.</summary>
    public const string Secrets = "secrets";

    /// <summary>Signs bearer tokens.</summary>
    public const string Tokens = "tokens";

    private const int MaxFileBytes = 4096;
    private const int LeastCharacters = 32;

    /// <summary>The key of a name, of so many bytes; the same ones whenever and wherever it is asked for.</summary>
    /// <exception cref="ServerStartException">The operator's file cannot be used; the message says why.</exception>
    public byte[] Get(string name, int bytes) =>
        options.KeysFile is { } file
            ? HKDF.DeriveKey(HashAlgorithmName.SHA256, Read(file), bytes, info: Encoding.ASCII.GetBytes($"kiln {name}"))
            : KeyFile.ReadOrCreate(Path.Combine(directory.Keys, name + ".key"), bytes);

    /// <summary>Tells one set of keys from another, and says nothing about them.</summary>
    public string Fingerprint() =>
        Convert.ToHexStringLower(HMACSHA256.HashData(Get(Tokens, 32), "kiln keys"u8).AsSpan(0, 16));

    private static byte[] Read(string file)
    {
        try
        {
            if (new FileInfo(file).Length > MaxFileBytes)
            {
                throw new ServerStartException($"{file} is too large to be a file with a key");
            }

            var text = File.ReadAllText(file).Trim();
            return text.Length >= LeastCharacters
                ? Encoding.UTF8.GetBytes(text)
                : throw new ServerStartException(
                    $"{file} has fewer than {LeastCharacters} characters; make a key with: openssl rand -base64 32"
                );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot read the file with the keys: {e.Message}", e);
        }
    }
}
