using Kiln.BuildSpec;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Builds;

/// <summary>A statement of how an image was made, as it is attached to it.</summary>
/// <param name="Manifest">The manifest that attaches it.</param>
/// <param name="Statement">Null where it cannot be read; <paramref name="Fault"/> then says why.</param>
/// <param name="Bundle">The bundle that it came in; null where it is unsigned.</param>
public sealed record AttachedProvenance(
    Digest Manifest,
    ProvenanceStatement? Statement,
    SigstoreBundle? Bundle,
    string? Fault
);

/// <summary>Finds and reads what is attached to an image; every byte is held against its digest.</summary>
public sealed class ProvenanceReader(RegistryClient registry)
{
    private const int MaxStatementBytes = 16 << 20;

    // An image that was built over and over has as many; whoever attaches more only hides them.
    private const int MaxStatements = 200;

    /// <summary>All provenance of an image, plain and signed. What is attached and is none is left out.</summary>
    /// <exception cref="RegistryException">The registry could not be asked.</exception>
    public async Task<IReadOnlyList<AttachedProvenance>> OfAsync(
        RemoteRepository repository,
        Digest image,
        CancellationToken cancel
    )
    {
        var found = new List<AttachedProvenance>();
        foreach (var type in new[] { ProvenanceStatement.MediaType, SigstoreBundle.Type })
        {
            var referrers = await registry.ListReferrersAsync(repository, image, type, cancel);
            foreach (var referrer in referrers.Where(MayBe).Take(MaxStatements))
            {
                try
                {
                    found.Add(await ReadAsync(repository, image, referrer, cancel));
                }
                catch (RegistryException e) when (e.Fault is RegistryFault.NotFound or RegistryFault.Broken)
                {
                    // Whoever may push may attach what cannot be read: that hides nothing.
                    found.Add(new AttachedProvenance(referrer.Digest, null, null, e.Message));
                }
            }
        }

        return found;
    }

    // Other statements, of an SBOM for example, say so.
    private static bool MayBe(Descriptor referrer) =>
        (
            referrer.Annotations?.GetValueOrDefault(ProvenanceStatement.PredicateAnnotation)
            ?? referrer.Annotations?.GetValueOrDefault(SigstoreBundle.PredicateAnnotation)
        )
            is null
                or ProvenanceStatement.SlsaProvenance;

    private async Task<AttachedProvenance> ReadAsync(
        RemoteRepository repository,
        Digest image,
        Descriptor referrer,
        CancellationToken cancel
    )
    {
        var manifest = await registry.GetManifestAsync(
            new Reference(repository.Host, repository.Name, Tag: null, referrer.Digest),
            cancel
        );
        if (manifest.Info.Subject?.Digest != image)
        {
            return new AttachedProvenance(referrer.Digest, null, null, "it is attached to another image");
        }

        if (manifest.Info.Layers is not [var layer] || layer.Size > MaxStatementBytes)
        {
            return new AttachedProvenance(
                referrer.Digest,
                null,
                null,
                $"it has not one layer of at most {MaxStatementBytes} bytes"
            );
        }

        var bytes = await ReadBlobAsync(registry, repository, layer, cancel);
        if (bytes is null)
        {
            return new AttachedProvenance(referrer.Digest, null, null, $"its layer is not {layer.Digest}");
        }

        if (referrer.ArtifactType != SigstoreBundle.Type)
        {
            return new AttachedProvenance(referrer.Digest, ProvenanceStatement.Read(bytes, out var bad), null, bad);
        }

        var bundle = SigstoreBundle.Read(bytes, out var fault);
        var statement = bundle is null ? null : ProvenanceStatement.Read(bundle.DsseEnvelope.Payload, out fault);
        return new AttachedProvenance(referrer.Digest, statement, bundle, fault);
    }

    /// <summary>A small blob; null where its bytes are not those of its digest.</summary>
    public static async Task<byte[]?> ReadBlobAsync(
        RegistryClient registry,
        RemoteRepository repository,
        Descriptor blob,
        CancellationToken cancel
    )
    {
        await using var stream = await registry.OpenWholeBlobAsync(repository, blob, cancel);
        using var bytes = new MemoryStream();
        await stream.CopyToAsync(bytes, cancel);
        return Digest.Of(bytes.GetBuffer().AsSpan(0, (int)bytes.Length), blob.Digest.Algorithm) == blob.Digest
            ? bytes.ToArray()
            : null;
    }
}
