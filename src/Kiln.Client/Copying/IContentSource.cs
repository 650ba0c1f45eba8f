using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Copying;

/// <summary>Where a manifest and what it refers to come from: a repository of a registry, or an archive on the disk.</summary>
public interface IContentSource
{
    /// <summary>A manifest by its digest, verified.</summary>
    /// <exception cref="RegistryException">It is not there (<see cref="RegistryFault.NotFound"/>), or not what it should be.</exception>
    Task<RemoteManifest> GetManifestAsync(Digest digest, CancellationToken cancel);

    /// <summary>
    /// Opens a blob. Its length is checked by whoever reads it to the end, its digest by the target. It may be called
    /// again for the same blob.
    /// </summary>
    /// <exception cref="RegistryException">It is not there (<see cref="RegistryFault.NotFound"/>), or has another size.</exception>
    Task<Stream> OpenBlobAsync(Descriptor blob, CancellationToken cancel);

    /// <summary>Manifests whose subject is <paramref name="subject"/>; none where there is no such manifest.</summary>
    Task<IReadOnlyList<Descriptor>> ListReferrersAsync(Digest subject, CancellationToken cancel);
}

/// <summary>Where a copy goes. Asked for one manifest at a time, for several blobs at once.</summary>
public interface IContentTarget
{
    /// <summary>Whether a manifest is there, and with it what it refers to.</summary>
    Task<bool> HasManifestAsync(Digest digest, CancellationToken cancel);

    /// <summary>Stores a blob unless it is there; what comes is checked against its digest and size.</summary>
    /// <param name="blob">What it is.</param>
    /// <param name="open">Opens the bytes; called once for each try, and not at all for what is there.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>False where it was there already.</returns>
    Task<bool> PutBlobAsync(Descriptor blob, Func<CancellationToken, Task<Stream>> open, CancellationToken cancel);

    /// <summary>Stores a manifest under its digest. What it refers to is there by then.</summary>
    Task PutManifestAsync(RemoteManifest manifest, CancellationToken cancel);

    /// <summary>Points a tag at a manifest that was stored.</summary>
    Task TagAsync(RemoteManifest manifest, Tag tag, CancellationToken cancel);
}
