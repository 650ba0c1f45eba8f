using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Copying;

/// <summary>A repository to copy from.</summary>
public sealed class RegistrySource(RegistryClient client, RemoteRepository repository) : IContentSource
{
    public Task<RemoteManifest> GetManifestAsync(Digest digest, CancellationToken cancel) =>
        client.GetManifestAsync(new Reference(repository.Host, repository.Name, Tag: null, digest), cancel);

    public Task<Stream> OpenBlobAsync(Descriptor blob, CancellationToken cancel) =>
        client.OpenWholeBlobAsync(repository, blob, cancel);

    public Task<IReadOnlyList<Descriptor>> ListReferrersAsync(Digest subject, CancellationToken cancel) =>
        client.ListReferrersAsync(repository, subject, artifactType: null, cancel);
}

/// <summary>A repository to copy to.</summary>
/// <param name="client">Speaks to the registry.</param>
/// <param name="repository">The repository.</param>
/// <param name="mountFrom">A repository of the same registry that may have the blobs: they are mounted, not sent.</param>
public sealed class RegistryTarget(RegistryClient client, RemoteRepository repository, RepositoryName? mountFrom = null)
    : IContentTarget
{
    public async Task<bool> HasManifestAsync(Digest digest, CancellationToken cancel) =>
        await client.FindManifestAsync(Named(null, digest), cancel) is not null;

    public Task<bool> PutBlobAsync(
        Descriptor blob,
        Func<CancellationToken, Task<Stream>> open,
        CancellationToken cancel
    ) => client.PushBlobAsync(repository, blob, open, mountFrom, cancel);

    public async Task PutManifestAsync(RemoteManifest manifest, CancellationToken cancel)
    {
        var pushed = await client.PushManifestAsync(
            Named(null, manifest.Digest),
            manifest.Info.MediaType,
            manifest.Bytes,
            cancel
        );
        if (manifest.Info.Subject is { } subject && !pushed.KnowsSubject)
        {
            await client.AddReferrerAsync(repository, subject.Digest, manifest, cancel);
        }
    }

    public async Task TagAsync(RemoteManifest manifest, Tag tag, CancellationToken cancel)
    {
        if (await client.FindManifestAsync(Named(tag, null), cancel) == manifest.Digest)
        {
            return;
        }

        await PushAsync(Named(tag, manifest.Digest));
        if (
            manifest.Digest.Algorithm != Digest.Sha256
            && await client.FindManifestAsync(Named(tag, null), cancel) != manifest.Digest
        )
        {
            // A registry that takes no tags with a push by digest knows what it is given by tag as sha256.
            await PushAsync(Named(tag, null));
        }

        Task PushAsync(Reference name) =>
            client.PushManifestAsync(name, manifest.Info.MediaType, manifest.Bytes, cancel);
    }

    private Reference Named(Tag? tag, Digest? digest) => new(repository.Host, repository.Name, tag, digest);
}
