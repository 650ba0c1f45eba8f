using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Client.Inspection;
using Kiln.Inspect;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// What images are good for that nobody built here (build-extension, P-9): their layers are read one after the other, over
/// the whole registry, and each once.
/// </summary>
internal sealed class PushedHints(
    Manifests manifests,
    LayerFactsStore layers,
    IBlobStore store,
    Blobs blobs,
    CondemnedBlobs condemned,
    Database database,
    TimeProvider time
)
{
    /// <summary>What is known without reading anything.</summary>
    /// <exception cref="OciException">
    /// <c>MANIFEST_UNKNOWN</c>, <c>BUILD_REQUEST_INVALID</c> where it is no image, <c>BUILD_HINTS_UNKNOWN</c> where a layer
    /// was not read yet or cannot be.
    /// </exception>
    public Task<HintsDocument> KnownAsync(RepositoryName repository, Digest digest, CancellationToken cancel) =>
        MeasureAsync(Find(repository, digest), cancel);

    /// <summary>Has the layers read, and attaches the document to the image. Asked again, it is attached once.</summary>
    /// <returns>The manifest that attaches it; null where the layers are still being read when <paramref name="wait"/> has passed.</returns>
    /// <exception cref="OciException">As <see cref="KnownAsync"/>; or a quota is full.</exception>
    public async Task<Descriptor?> AttachAsync(
        RepositoryName repository,
        Digest digest,
        string principal,
        TimeSpan wait,
        CancellationToken cancel
    )
    {
        var image = Find(repository, digest);
        var unread = image
            .Info.Layers.Select(l => l.Digest)
            .Distinct()
            .Where(d => layers.IsReadable(d) is null)
            .ToList();
        try
        {
            await Task.WhenAll(
                    unread.ConvertAll(d =>
                        layers.TryWarm(d, out var tried)
                            ? tried
                            : throw new OciException(
                                ErrorCodes.TooManyRequests,
                                "too many layers wait to be read; ask again in a minute"
                            )
                    )
                )
                .WaitAsync(wait, time, cancel);
        }
        catch (TimeoutException)
        {
            return null;
        }

        var document = await MeasureAsync(image, cancel);
        var (manifest, text) = EvidenceManifest.Hints(document);
        await StoreAsync(image, manifest, text, principal, cancel);
        return manifest.Descriptor;
    }

    private Image Find(RepositoryName repository, Digest digest)
    {
        var stored =
            manifests.Get(repository, digest)
            ?? throw new OciException(ErrorCodes.ManifestUnknown, $"repository {repository} has no manifest {digest}");
        var content = stored.Content.ToArray();
        var info = ManifestReader.Read(content, stored.MediaType, out _);
        if (
            info?.Config is not { } config
            || !MediaTypes.IsImageConfig(config.MediaType)
            || info.ArtifactType is not null
        )
        {
            throw new OciException(
                BuildErrors.RequestInvalid,
                $"{digest} is no image manifest; of an index, name the digest of one of its images"
            );
        }

        // A manifest may name what the repository does not have, and what it may not tell of: layers that are fetched
        // elsewhere, those of others.
        foreach (var named in info.Layers.Prepend(config).DistinctBy(d => d.Digest))
        {
            if (blobs.Size(repository, named.Digest) is null)
            {
                throw new OciException(
                    ErrorCodes.ManifestBlobUnknown,
                    $"{named.Digest}, which the image names, is not in {repository}"
                );
            }
        }

        return new Image(
            repository,
            new Descriptor
            {
                MediaType = stored.MediaType,
                Digest = digest,
                Size = content.Length,
            },
            info,
            config
        );
    }

    private async Task<HintsDocument> MeasureAsync(Image image, CancellationToken cancel)
    {
        var (config, fault) = await store.ReadConfigAsync(image.Config, cancel);
        if (config is null)
        {
            throw new OciException(BuildErrors.HintsUnknown, fault!);
        }

        image.Info.Layers.DistinctBy(l => l.Digest).ToList().ForEach(MustBeRead);
        var (platform, singleId) = Built(image) ?? (config.Platform, false);
        var measured = await layers.MeasureAsync(
            image.Info.Layers,
            read => new MeasuredImage
            {
                Subject = image.Manifest,
                Platform = platform,
                User = config.User,
                SingleId = singleId,
                Layers = read,
            },
            [],
            cancel
        );
        return measured?.Document
            ?? throw new OciException(
                BuildErrors.HintsUnknown,
                $"the layers have more than {LayerFactsStore.MaxEntries} files together, or paths that are too long"
            );
    }

    private void MustBeRead(Descriptor layer)
    {
        if (layers.IsReadable(layer.Digest) is not { } readable)
        {
            throw new OciException(
                BuildErrors.HintsUnknown,
                $"the layer {layer.Digest} was not read yet; POST to this address has it read, which takes the right to push"
            );
        }

        if (!readable)
        {
            throw new OciException(
                BuildErrors.HintsUnknown,
                $"the layer {layer.Digest} is no archive of files that can be read"
            );
        }
    }

    // Of an image that was built here more is known than it says itself.
    private (Platform Platform, bool SingleId)? Built(Image image) =>
        database
            .Read(c =>
                c.Query(
                    """
                    SELECT e.platform, e.confinement FROM repositories r JOIN executions e ON e.repository = r.id
                    WHERE r.name = @name AND e.manifest_digest = @digest AND e.state = 'succeeded'
                    ORDER BY e.finished, e.id LIMIT 1
                    """,
                    row => (row.GetString(0), row.TextOrNull(1)),
                    ("name", image.Repository.Value),
                    ("digest", image.Manifest.Digest.ToString())
                )
            )
            .ConvertAll(row =>
                ((Platform, bool)?)
                    (
                        Platform.Parse(row.Item1),
                        MeasuredImage.IsSingleId(
                            row.Item2 is null
                                ? null
                                : JsonSerializer.Deserialize(row.Item2, BuildJson.Default.BuildConfinement)
                        )
                    )
            )
            .FirstOrDefault();

    private async Task StoreAsync(
        Image image,
        EvidenceManifest manifest,
        byte[] text,
        string principal,
        CancellationToken cancel
    )
    {
        (Digest Digest, ReadOnlyMemory<byte> Bytes)[] parts = [(manifest.Layer.Digest, text), EvidenceManifest.Config];
        foreach (var (digest, _) in parts)
        {
            await condemned.PrepareAsync(digest, cancel);
        }

        await store.PutAsync(parts, cancel);
        Digest[] digests = [.. parts.Select(p => p.Digest)];
        try
        {
            await condemned.RecordAsync(
                digests,
                transaction => Put(transaction, image, manifest, parts, principal),
                cancel
            );
        }
        catch (Exception)
        {
            // Blobs that no repository sees, which the collector takes away.
            await condemned.RecordAsync(digests, transaction => Record(transaction, parts), CancellationToken.None);
            throw;
        }
    }

    private bool Put(
        DbTransaction transaction,
        Image image,
        EvidenceManifest manifest,
        (Digest Digest, ReadOnlyMemory<byte> Bytes)[] parts,
        string principal
    )
    {
        if (
            Repositories.Find(transaction.Connection!, image.Repository) is not { } repository
            || !Manifests.Exists(transaction, repository, image.Manifest.Digest)
        )
        {
            throw new OciException(
                ErrorCodes.ManifestUnknown,
                $"the manifest {image.Manifest.Digest} was deleted meanwhile"
            );
        }

        Record(transaction, parts);
        foreach (var (digest, _) in parts)
        {
            blobs.Link(transaction, repository, digest);
        }

        manifests.Put(
            transaction,
            new ManifestPush
            {
                Repository = image.Repository,
                Content = manifest.Content,
                Digest = manifest.Descriptor.Digest,
                ContentType = manifest.Descriptor.MediaType,
                Principal = principal,
            }
        );
        return true;
    }

    private bool Record(DbTransaction transaction, (Digest Digest, ReadOnlyMemory<byte> Bytes)[] parts)
    {
        foreach (var (digest, bytes) in parts)
        {
            blobs.Record(transaction, digest, bytes.Length);
        }

        return true;
    }

    private sealed record Image(RepositoryName Repository, Descriptor Manifest, ManifestInfo Info, Descriptor Config);
}
