using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Oci;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// What is attached to a product when it is published: its blobs are in the store, its manifests are not stored yet.
/// </summary>
/// <param name="Blobs">With their sizes; no repository sees them yet.</param>
/// <param name="Manifests">Each names the product as its subject.</param>
/// <param name="Told">What jobs tell of it.</param>
/// <param name="Emulated">Whether the product was built by emulation, by this build or by the earlier one whose product it is.</param>
/// <param name="LogSize">How far the log went that is in it.</param>
internal sealed record Evidence(
    IReadOnlyList<(Digest Digest, long Size)> Blobs,
    IReadOnlyList<EvidenceManifest> Manifests,
    BuildEvidence Told,
    bool Emulated,
    long LogSize
)
{
    public IReadOnlyList<Digest> Digests => [.. Blobs.Select(b => b.Digest)];
}
