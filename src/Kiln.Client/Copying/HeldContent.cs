using System.Collections.Concurrent;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Copying;

/// <summary>
/// Content that is at hand to be copied: manifests in memory, blobs wherever they can be opened. What is made here (a
/// product, its index, what is attached to it) goes into any registry by a <see cref="TreeCopy"/> of it, in the order that
/// shows nothing half: blobs, manifests, referrers, tags.
/// </summary>
public sealed class HeldContent : IContentSource
{
    private readonly ConcurrentDictionary<Digest, RemoteManifest> _manifests = new();
    private readonly ConcurrentDictionary<Digest, (long Size, Func<CancellationToken, Task<Stream>> Open)> _blobs =
        new();

    /// <summary>Holds a manifest; one that names a subject is a referrer of that.</summary>
    /// <exception cref="ArgumentException">It cannot be read.</exception>
    public RemoteManifest AddManifest(ReadOnlyMemory<byte> bytes, string mediaType)
    {
        var info =
            ManifestReader.Read(bytes, mediaType, out var fault)
            ?? throw new ArgumentException($"it is no manifest: {fault}", nameof(bytes));
        var digest = Digest.Of(bytes.Span);
        return _manifests.GetOrAdd(digest, _ => new RemoteManifest(digest, bytes, info));
    }

    /// <summary>Holds some bytes.</summary>
    public void AddBlob(ReadOnlyMemory<byte> bytes) =>
        AddBlob(
            Digest.Of(bytes.Span),
            bytes.Length,
            _ => Task.FromResult<Stream>(new MemoryStream(bytes.ToArray(), writable: false))
        );

    /// <summary>Holds a blob that is somewhere else.</summary>
    /// <param name="digest">Of what is opened; the target checks it.</param>
    /// <param name="size">In bytes.</param>
    /// <param name="open">Called once for each try.</param>
    public void AddBlob(Digest digest, long size, Func<CancellationToken, Task<Stream>> open) =>
        _blobs[digest] = (size, open);

    public Task<RemoteManifest> GetManifestAsync(Digest digest, CancellationToken cancel) =>
        _manifests.TryGetValue(digest, out var held) ? Task.FromResult(held) : throw Missing($"the manifest {digest}");

    public Task<Stream> OpenBlobAsync(Descriptor blob, CancellationToken cancel)
    {
        if (!_blobs.TryGetValue(blob.Digest, out var held))
        {
            throw Missing($"the blob {blob.Digest}");
        }

        return held.Size == blob.Size
            ? held.Open(cancel)
            : throw new RegistryException(
                RegistryFault.Broken,
                $"copying the blob {blob.Digest}",
                $"it has {held.Size} bytes, and a manifest says {blob.Size}"
            );
    }

    public Task<IReadOnlyList<Descriptor>> ListReferrersAsync(Digest subject, CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<Descriptor>>([
            .. _manifests.Values.Where(m => m.Info.Subject?.Digest == subject).Select(m => m.Descriptor),
        ]);

    private static RegistryException Missing(string what) =>
        new(RegistryFault.NotFound, $"copying {what}", "it is not at hand");
}
