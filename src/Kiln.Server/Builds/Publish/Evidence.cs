using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// What is attached to a product when it is published: its blobs are in the store, its manifests are not stored yet.
/// </summary>
/// <param name="Blobs">With their sizes; no repository sees them yet.</param>
/// <param name="Manifests">Each names the product as its subject.</param>
/// <param name="Told">What jobs tell of it.</param>
/// <param name="LogSize">How far the log went that is in it.</param>
internal sealed record Evidence(
    IReadOnlyList<(Digest Digest, long Size)> Blobs,
    IReadOnlyList<EvidenceManifest> Manifests,
    BuildEvidence Told,
    long LogSize
)
{
    public IReadOnlyList<Digest> Digests => [.. Blobs.Select(b => b.Digest)];
}

/// <summary>A manifest that attaches one blob to a product.</summary>
internal sealed record EvidenceManifest(Descriptor Descriptor, byte[] Content, ManifestInfo Info)
{
    private static readonly byte[] EmptyJson = "{}"u8.ToArray();

    /// <summary>The config of all of them: they have none of their own (image-spec, "Guidelines for Artifact Usage").</summary>
    public static (Digest Digest, ReadOnlyMemory<byte> Bytes) Config => (Digest.EmptyJson, EmptyJson);

    /// <summary>What is attached.</summary>
    public Descriptor Layer => Info.Layers[0];

    /// <param name="layer">What is attached.</param>
    public static EvidenceManifest Of(
        string artifactType,
        Descriptor layer,
        Descriptor subject,
        SortedDictionary<string, string> annotations
    )
    {
        var manifest = new ImageManifest
        {
            ArtifactType = artifactType,
            Config = new Descriptor
            {
                MediaType = MediaTypes.OciEmpty,
                Digest = Digest.EmptyJson,
                Size = EmptyJson.Length,
                Data = EmptyJson,
            },
            Layers = [layer],
            Subject = subject,
            Annotations = annotations,
        };
        var content = System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest);
        var descriptor = new Descriptor
        {
            MediaType = MediaTypes.OciManifest,
            Digest = Digest.Of(content),
            Size = content.Length,
            ArtifactType = artifactType,
        };
        return new EvidenceManifest(
            descriptor,
            content,
            ManifestReader.Read(content, MediaTypes.OciManifest, out var fault)
                ?? throw new InvalidOperationException($"a manifest of its own cannot be read: {fault}")
        );
    }
}
