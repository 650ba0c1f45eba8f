using Kiln.BuildSpec;
using Kiln.Inspect;
using Kiln.Node.Engines;
using Kiln.Oci;

namespace Kiln.Node.Fetching;

/// <summary>Brings a build's context blobs into its directory as plain tars, within the limit.</summary>
internal static class ContextFetcher
{
    /// <exception cref="FormatException">A context is larger than it may be, or broken.</exception>
    public static async Task<IReadOnlyList<ContextArchive>> FetchAsync(
        Func<Digest, CancellationToken, Task<Stream?>> open,
        IReadOnlyList<LeaseContext> contexts,
        string directory,
        long maxBytes,
        CancellationToken cancel
    )
    {
        var archives = new List<ContextArchive>();
        Directory.CreateDirectory(directory);
        var left = maxBytes;
        foreach (var context in contexts)
        {
            // The number keeps their order, the last part tells how many components to strip.
            var file = Path.Combine(directory, $"{archives.Count:000}-{context.Strip}.tar");
            await using var blob =
                await open(context.Blob.Digest, cancel)
                ?? throw new FormatException($"the context {context.Blob.Digest} is no longer in the repository");
            await using var plain = await LayerStream.OpenAsync(blob, left, cancel);
            left -= await CopyAsync(plain, file, cancel);
            archives.Add(new ContextArchive(file, context.Strip));
        }

        return archives;
    }

    private static async Task<long> CopyAsync(Stream from, string file, CancellationToken cancel)
    {
        await using var to = new FileStream(file, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
        try
        {
            await from.CopyToAsync(to, 1 << 18, cancel);
        }
        catch (Exception e) when (e is InvalidDataException or OversizeException or ZstdSharp.ZstdException)
        {
            throw new FormatException($"a build context could not be unpacked: {e.Message}", e);
        }

        return to.Length;
    }
}
