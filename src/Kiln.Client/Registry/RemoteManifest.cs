using Kiln.Oci;

namespace Kiln.Client.Registry;

/// <summary>A manifest as it came, its bytes verified against <see cref="Digest"/>.</summary>
public sealed record RemoteManifest(Digest Digest, ReadOnlyMemory<byte> Bytes, ManifestInfo Info)
{
    public Descriptor Descriptor =>
        new()
        {
            MediaType = Info.MediaType,
            Digest = Digest,
            Size = Bytes.Length,
        };
}

/// <summary>The one image that a reference means on a platform.</summary>
/// <param name="Reference">The reference, pinned to the image manifest's digest.</param>
/// <param name="Manifest">The image manifest.</param>
/// <param name="Index">Digest of the index that it was chosen from, where there was one.</param>
public sealed record ResolvedImage(Reference Reference, RemoteManifest Manifest, Digest? Index);

/// <summary>A repository on a registry.</summary>
public sealed record RemoteRepository(string Host, RepositoryName Name)
{
    public static RemoteRepository Of(Reference reference) => new(reference.Host, reference.Repository);

    public override string ToString() => $"{Host}/{Name}";
}

/// <summary>What a registry said to a pushed manifest.</summary>
/// <param name="Digest">What it is stored as.</param>
/// <param name="Links">Targets of the <c>Link</c> headers by relation.</param>
/// <param name="Warnings">Texts of the <c>Warning: 299</c> headers, for people only.</param>
public sealed record PushedManifest(
    Digest Digest,
    IReadOnlyDictionary<string, string> Links,
    IReadOnlyList<string> Warnings
)
{
    /// <summary>Whether the registry itself lists the manifest among its subject's referrers.</summary>
    public bool KnowsSubject { get; init; }
}
