using Kiln.Client;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;
using Kiln.Server.Registry;

namespace Kiln.Server.Front;

/// <summary>What builds have left in a repository here, as a place to copy from.</summary>
/// <param name="evidence">By product, what is attached to it.</param>
internal sealed class ProductSource(
    RepositoryName repository,
    Manifests manifests,
    Blobs blobs,
    IReadOnlyDictionary<Digest, IReadOnlyList<Descriptor>> evidence
) : IContentSource
{
    public Task<RemoteManifest> GetManifestAsync(Digest digest, CancellationToken cancel) =>
        Find(digest) is { } found
            ? Task.FromResult(found)
            : throw Missing($"reading the manifest {digest} of {repository}");

    /// <summary>A manifest; null where it is not here.</summary>
    public RemoteManifest? Find(Digest digest) =>
        manifests.Get(repository, digest) is { } stored
        && ManifestReader.Read(stored.Content, stored.MediaType, out _) is { } info
            ? new RemoteManifest(digest, stored.Content, info)
            : null;

    public async Task<Stream> OpenBlobAsync(Descriptor blob, CancellationToken cancel) =>
        await blobs.OpenAsync(repository, blob.Digest, 0, cancel)
        ?? throw Missing($"reading the blob {blob.Digest} of {repository}");

    public Task<IReadOnlyList<Descriptor>> ListReferrersAsync(Digest subject, CancellationToken cancel) =>
        Task.FromResult(evidence.GetValueOrDefault(subject, []));

    private static RegistryException Missing(string action) =>
        new(RegistryFault.NotFound, action, "it is not here any more");
}

/// <summary>
/// A repository behind as a place to copy to: a manifest and its entry among the referrers of its subject are one.
/// </summary>
internal sealed class ProductTarget(RegistryTarget inner, RepositoryName repository, ReferrersBehind referrers)
    : IContentTarget
{
    public Task<bool> HasManifestAsync(Digest digest, CancellationToken cancel) =>
        inner.HasManifestAsync(digest, cancel);

    public Task<bool> PutBlobAsync(
        Descriptor blob,
        Func<CancellationToken, Task<Stream>> open,
        CancellationToken cancel
    ) => inner.PutBlobAsync(blob, open, cancel);

    public async Task PutManifestAsync(RemoteManifest manifest, CancellationToken cancel)
    {
        using var held = await referrers.LockAsync(repository, cancel);
        await inner.PutManifestAsync(manifest, cancel);
    }

    public Task TagAsync(RemoteManifest manifest, Tag tag, CancellationToken cancel) =>
        inner.TagAsync(manifest, tag, cancel);
}
