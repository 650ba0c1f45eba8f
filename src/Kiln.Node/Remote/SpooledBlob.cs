using System.Security.Cryptography;
using Kiln.Oci;

namespace Kiln.Node.Remote;

/// <summary>Writes a blob to a file and hashes it on its way.</summary>
internal static class SpooledBlob
{
    public static async Task<Descriptor> WriteAsync(
        string path,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    )
    {
        using var hash = SHA256.Create();
        await using var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
        await using (var hashing = new CryptoStream(file, hash, CryptoStreamMode.Write, leaveOpen: true))
        {
            await write(hashing, cancel);
        }

        await file.FlushAsync(cancel);
        return new Descriptor
        {
            MediaType = MediaTypes.OctetStream,
            Digest = Digest.Parse($"sha256:{Convert.ToHexStringLower(hash.Hash!)}"),
            Size = file.Length,
        };
    }
}
