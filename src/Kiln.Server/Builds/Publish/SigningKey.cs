using System.Security.Cryptography;
using Kiln.BuildSpec;

namespace Kiln.Server.Builds.Publish;

/// <summary>The key that signs provenance; none where the operator has named no file.</summary>
internal sealed class SigningKey : IDisposable
{
    private const int MaxFileBytes = 16 << 10;
    private const UnixFileMode Others =
        UnixFileMode.GroupRead
        | UnixFileMode.GroupWrite
        | UnixFileMode.GroupExecute
        | UnixFileMode.OtherRead
        | UnixFileMode.OtherWrite
        | UnixFileMode.OtherExecute;
    private const string Make =
        "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE, and chmod 600 FILE";

    private readonly ECDsa? _key;
    private readonly Lock _lock = new();

    private SigningKey(ECDsa? key)
    {
        _key = key;
        PublicKey = key?.ExportSubjectPublicKeyInfoPem();
    }

    /// <summary>Its public part in PEM; null where nothing is signed.</summary>
    public string? PublicKey { get; }

    /// <summary>Signs a statement; null where nothing is signed.</summary>
    public SigstoreBundle? Sign(byte[] statement)
    {
        if (_key is null)
        {
            return null;
        }

        // A key is not for several threads at a time.
        lock (_lock)
        {
            return SigstoreBundle.Sign(_key, ProvenanceStatement.MediaType, statement);
        }
    }

    /// <summary>Reads the file that the operator has named.</summary>
    /// <exception cref="ServerStartException">It cannot be used; the message says why and what to do.</exception>
    public static SigningKey Of(BuildOptions options) =>
        new(options.SigningKeyFile is { } file ? Parse(file, Read(file)) : null);

    public void Dispose() => _key?.Dispose();

    private static string Read(string file)
    {
        try
        {
            var mode = File.GetUnixFileMode(file);
            if ((mode & Others) != UnixFileMode.None)
            {
                throw new ServerStartException(
                    $"others may use the signing key {file} (mode {Convert.ToString((int)mode, 8)}); chmod 600 {file}"
                );
            }

            return new FileInfo(file).Length <= MaxFileBytes
                ? File.ReadAllText(file)
                : throw new ServerStartException($"{file} is too large to be a file with a key");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot read the signing key: {e.Message}", e);
        }
    }

    private static ECDsa Parse(string file, string text)
    {
        if (text.Contains("ENCRYPTED", StringComparison.Ordinal))
        {
            throw new ServerStartException(
                $"the signing key {file} is encrypted, and nobody is there to type its password when a server starts; "
                    + "decrypt it with: openssl pkey -in FILE -out PLAIN, and chmod 600 PLAIN. Of keys that cosign has made, "
                    + "which openssl does not read: "
                    + Make
            );
        }

        var key = ECDsa.Create();
        try
        {
            key.ImportFromPem(text);
            // What is a public key only fails here, and not at the end of the first build.
            key.ExportECPrivateKey();
            return key.KeySize == 256
                ? key
                : throw new ServerStartException(
                    $"the signing key {file} is not of the curve P-256 (it has {key.KeySize} bits); {Make}"
                );
        }
        catch (Exception e) when (e is ArgumentException or CryptographicException)
        {
            key.Dispose();
            throw new ServerStartException($"{file} holds no private key of ECDSA in PEM; {Make}", e);
        }
    }
}
