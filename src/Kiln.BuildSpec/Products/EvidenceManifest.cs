using System.Text.Json;
using Kiln.Oci;

namespace Kiln.BuildSpec.Products;

/// <summary>A manifest that attaches one blob to a product.</summary>
public sealed record EvidenceManifest(Descriptor Descriptor, byte[] Content, ManifestInfo Info)
{
    private const string LogType = "text/plain";
    private const string LogTitle = "build.log";
    private static readonly byte[] EmptyJson = "{}"u8.ToArray();

    /// <summary>The config of all of them: they have none of their own (image-spec, "Guidelines for Artifact Usage").</summary>
    public static (Digest Digest, ReadOnlyMemory<byte> Bytes) Config => (Digest.EmptyJson, EmptyJson);

    /// <summary>What is attached.</summary>
    public Descriptor Layer => Info.Layers[0];

    /// <summary>The statement of how a product was made, for everybody who can read JSON (V-1).</summary>
    /// <returns>The manifest, and the bytes of its layer.</returns>
    public static (EvidenceManifest Manifest, byte[] Text) Provenance(ProvenanceStatement statement, Descriptor product)
    {
        var text = statement.ToBytes();
        var kind = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            [ProvenanceStatement.PredicateAnnotation] = statement.PredicateType,
        };
        var layer = new Descriptor
        {
            MediaType = ProvenanceStatement.MediaType,
            Digest = Digest.Of(text),
            Size = text.Length,
            Annotations = kind,
        };
        var annotations = new SortedDictionary<string, string>(kind, StringComparer.Ordinal)
        {
            [HintAnnotations.Created] = statement.Predicate.RunDetails.Metadata.FinishedOn!,
        };
        return (Of(ProvenanceStatement.MediaType, layer, product, annotations), text);
    }

    /// <summary>The log of a product (V-1).</summary>
    /// <param name="log">As <see cref="LogLayer"/> has it.</param>
    /// <param name="created">RFC 3339 in UTC.</param>
    public static EvidenceManifest Log(Descriptor log, Descriptor product, string created) =>
        Of(
            BuildMediaTypes.Log,
            log,
            product,
            new SortedDictionary<string, string>(StringComparer.Ordinal) { [HintAnnotations.Created] = created }
        );

    /// <summary>What a product, or any image, is good for (P-8). The same document is the same manifest, whenever it is made.</summary>
    /// <returns>The manifest, and the bytes of its layer.</returns>
    public static (EvidenceManifest Manifest, byte[] Text) Hints(HintsDocument document)
    {
        var text = document.ToBytes();
        var layer = new Descriptor
        {
            MediaType = BuildMediaTypes.Hints,
            Digest = Digest.Of(text),
            Size = text.Length,
        };
        return (
            Of(
                BuildMediaTypes.Hints,
                layer,
                document.Subject,
                new SortedDictionary<string, string>(
                    document.Annotations.ToDictionary(StringComparer.Ordinal),
                    StringComparer.Ordinal
                )
            ),
            text
        );
    }

    /// <summary>A log's bytes as they are attached.</summary>
    public static Descriptor LogLayer(Digest digest, long size) =>
        new()
        {
            MediaType = LogType,
            Digest = digest,
            Size = size,
            Annotations = new Dictionary<string, string> { [RecipeAnnotations.Title] = LogTitle },
        };

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
        var content = JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest);
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
