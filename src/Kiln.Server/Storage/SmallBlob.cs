using Kiln.Oci;

namespace Kiln.Server.Storage;

/// <summary>Reads blobs that are as small as manifests.</summary>
internal static class SmallBlob
{
    private const int MaxBytes = 64 << 20;

    /// <summary>The bytes as they are stored, unverified; null where there are none, or far too many.</summary>
    public static async Task<byte[]?> ReadAsync(IBlobStore store, Digest digest, CancellationToken cancel)
    {
        if (await store.SizeAsync(digest, cancel) is not { } size || size > MaxBytes)
        {
            return null;
        }

        await using var stream = await store.OpenAsync(digest, 0, cancel);
        if (stream is null)
        {
            return null;
        }

        using var bytes = new MemoryStream((int)size);
        await stream.CopyToAsync(bytes, cancel);
        return bytes.ToArray();
    }
}
