using System.Data.Common;
using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>Manifests of repositories: kept byte for byte, with what they refer to beside them.</summary>
internal sealed class Manifests(
    Database database,
    Repositories repositories,
    Tags tags,
    ServerOptions options,
    TimeProvider time
)
{
    /// <summary>Stores a manifest and sets its tags in a transaction of its own; durable when this returns.</summary>
    /// <param name="trigger">What the push sets off; null for what the server itself stores.</param>
    /// <exception cref="OciException">The manifest is refused; nothing is stored then.</exception>
    public async Task<ManifestStored> PutAsync(ManifestPush push, IPushTrigger? trigger, CancellationToken cancel)
    {
        var parsed = Parse(push);
        var reaction = trigger is null
            ? null
            : await trigger.PrepareAsync(push, parsed.Digest, parsed.Manifest, cancel);
        return await database.WriteAsync(transaction => Put(transaction, push, parsed, reaction), cancel);
    }

    /// <summary>
    /// Stores a manifest and sets its tags as part of a larger transaction. What it refers to must be in the repository
    /// by then: <see cref="Blobs.Link"/> before the manifest, children before their index.
    /// </summary>
    /// <inheritdoc cref="PutAsync"/>
    public ManifestStored Put(DbTransaction transaction, ManifestPush push) =>
        Put(transaction, push, Parse(push), reaction: null);

    /// <summary>The manifest with its bytes; null where this repository has none of that digest.</summary>
    public StoredManifest? Get(RepositoryName repository, Digest digest) =>
        database.Read(c => Select(c, repository, digest, content: true));

    /// <summary>The manifest that a tag points at, with its bytes; null where there is no such tag.</summary>
    public StoredManifest? Get(RepositoryName repository, Tag tag) =>
        database.Read(c => Select(c, repository, tag, content: true));

    /// <summary>As <see cref="Get(RepositoryName, Digest)"/>, without the bytes.</summary>
    public StoredManifest? Head(RepositoryName repository, Digest digest) =>
        database.Read(c => Select(c, repository, digest, content: false));

    /// <summary>As <see cref="Get(RepositoryName, Tag)"/>, without the bytes.</summary>
    public StoredManifest? Head(RepositoryName repository, Tag tag) =>
        database.Read(c => Select(c, repository, tag, content: false));

    /// <summary>Whether a repository has a manifest.</summary>
    public static bool Exists(DbTransaction transaction, long repository, Digest digest) =>
        transaction.Scalar<long?>(
            "SELECT 1 FROM manifests WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        )
            is not null;

    /// <summary>
    /// Deletes a manifest and every tag that points at it ("deleting a manifest also 404s its tags", distribution-spec
    /// 1.1.1). One that an index of the repository lists stays: the index would be broken.
    /// </summary>
    /// <exception cref="OciException"><c>MANIFEST_UNKNOWN</c> 404, or <c>UNSUPPORTED</c> 405 while an index lists it.</exception>
    public Task DeleteAsync(
        RepositoryName repository,
        Digest digest,
        Precondition? precondition,
        CancellationToken cancel
    ) =>
        database.WriteAsync(
            transaction =>
            {
                if (
                    Repositories.Find(transaction.Connection!, repository) is not { } id
                    || !Exists(transaction, id, digest)
                )
                {
                    throw new OciException(
                        ErrorCodes.ManifestUnknown,
                        $"repository {repository} has no manifest {digest}"
                    );
                }

                precondition?.Check(transaction, id, digest);
                if (Parent(transaction, id, digest) is { } parent)
                {
                    throw new OciException(
                        ErrorCodes.MethodUnsupported,
                        $"the index {parent} lists this manifest; delete that first"
                    );
                }

                tags.RemoveAll(transaction, id, repository, digest);
                transaction.Run(
                    "DELETE FROM manifest_references WHERE repository = @repository AND manifest = @digest",
                    ("repository", id),
                    ("digest", digest.ToString())
                );
                transaction.Run(
                    "DELETE FROM manifests WHERE repository = @repository AND digest = @digest",
                    ("repository", id),
                    ("digest", digest.ToString())
                );
            },
            cancel
        );

    private static (Digest Digest, ManifestInfo Manifest) Parse(ManifestPush push)
    {
        var digest = Digest.Of(push.Content.Span, push.Digest?.Algorithm ?? Digest.Sha256);
        if (push.Digest is not null && push.Digest != digest)
        {
            throw new OciException(
                ErrorCodes.DigestInvalid,
                $"the manifest was pushed as {push.Digest}, but its bytes have the digest {digest}"
            );
        }

        var manifest = ManifestReader.Read(push.Content, push.ContentType, out var fault);
        fault ??= ManifestLimits.Broken(manifest!);
        return fault is null ? (digest, manifest!) : throw new OciException(ErrorCodes.ManifestInvalid, fault);
    }

    private ManifestStored Put(
        DbTransaction transaction,
        ManifestPush push,
        (Digest Digest, ManifestInfo Manifest) parsed,
        PushReaction? reaction
    )
    {
        var (digest, manifest) = parsed;
        var repository = repositories.Ensure(transaction, push.Repository);
        if (push.Digest is not null)
        {
            push.Precondition?.Check(transaction, repository, push.Digest);
        }
        else if (push.Tags is [var first, ..])
        {
            push.Precondition?.Check(transaction, repository, first);
        }

        CheckReferences(transaction, repository, manifest);

        Insert(transaction, repository, digest, manifest, push.Content);
        foreach (var tag in push.Tags)
        {
            tags.Set(transaction, repository, push.Repository, tag, digest);
        }

        var pushed = new ManifestPushed(
            repository,
            push.Repository,
            digest,
            push.Tags,
            manifest,
            push.Content,
            push.Principal
        );
        return new ManifestStored(pushed, reaction?.Invoke(transaction, pushed));
    }

    // "the registry MAY reject a manifest of any type … with a descriptor that references a manifest or blob that does
    // not exist in the registry" (distribution-spec, "Pushing Manifests"): Kiln does, since a pull of it would fail.
    // … unless it was told otherwise.
    private void CheckReferences(DbTransaction transaction, long repository, ManifestInfo manifest)
    {
        if (options.Sparse >= (MediaTypes.IsIndex(manifest.MediaType) ? SparseManifests.Indexes : SparseManifests.All))
        {
            return;
        }

        foreach (var blob in RequiredBlobs(manifest))
        {
            if (!Blobs.IsLinked(transaction.Connection!, repository, blob.Digest))
            {
                throw Missing(blob, "blob");
            }
        }

        foreach (var child in manifest.Manifests)
        {
            if (
                !Exists(transaction, repository, child.Digest)
                && !Blobs.IsLinked(transaction.Connection!, repository, child.Digest)
            )
            {
                throw Missing(child, "manifest");
            }
        }
    }

    private static IEnumerable<Descriptor> RequiredBlobs(ManifestInfo manifest) =>
        manifest
            .Layers.Where(layer => !MediaTypes.IsNonDistributable(layer.MediaType) && layer.Urls is not { Count: > 0 })
            .Concat(manifest.Config is null ? [] : [manifest.Config])
            .DistinctBy(descriptor => descriptor.Digest);

    private static OciException Missing(Descriptor descriptor, string what) =>
        new(
            new OciError(
                ErrorCodes.ManifestBlobUnknown,
                $"the manifest refers to the {what} {descriptor.Digest}, which is not in this repository; push it first",
                JsonSerializer.SerializeToElement(descriptor, OciJson.Default.Descriptor)
            )
        );

    private void Insert(
        DbTransaction transaction,
        long repository,
        Digest digest,
        ManifestInfo manifest,
        ReadOnlyMemory<byte> content
    )
    {
        var annotations = manifest.Annotations is { Count: > 0 } map
            ? JsonSerializer.Serialize(map, OciJson.Default.IReadOnlyDictionaryStringString)
            : null;
        // The same bytes may come again under another Content-Type where they name none themselves: the last one counts.
        transaction.Run(
            """
            INSERT INTO manifests (repository, digest, media_type, artifact_type, subject, annotations, content, created)
            VALUES (@repository, @digest, @type, @artifact, @subject, @annotations, @content, @now)
            ON CONFLICT (repository, digest)
            DO UPDATE SET media_type = excluded.media_type, artifact_type = excluded.artifact_type
            """,
            ("repository", repository),
            ("digest", digest.ToString()),
            ("type", manifest.MediaType),
            ("artifact", manifest.EffectiveArtifactType),
            ("subject", manifest.Subject?.Digest.ToString()),
            ("annotations", annotations),
            ("content", content.ToArray()),
            ("now", time.Milliseconds())
        );
        foreach (var (target, kind) in References(manifest))
        {
            transaction.Run(
                """
                INSERT INTO manifest_references (repository, manifest, digest, kind)
                VALUES (@repository, @manifest, @digest, @kind) ON CONFLICT DO NOTHING
                """,
                ("repository", repository),
                ("manifest", digest.ToString()),
                ("digest", target.ToString()),
                ("kind", kind)
            );
        }
    }

    private static IEnumerable<(Digest Digest, string Kind)> References(ManifestInfo manifest) =>
        manifest
            .Layers.Select(layer => (layer.Digest, "layer"))
            .Concat(manifest.Manifests.Select(child => (child.Digest, "manifest")))
            .Concat(manifest.Config is null ? [] : [(manifest.Config.Digest, "config")]);

    private static string? Parent(DbTransaction transaction, long repository, Digest digest) =>
        transaction.Scalar<string>(
            """
            SELECT manifest FROM manifest_references
            WHERE repository = @repository AND digest = @digest AND kind = 'manifest' LIMIT 1
            """,
            ("repository", repository),
            ("digest", digest.ToString())
        );

    private static StoredManifest? Select(
        DbConnection connection,
        RepositoryName repository,
        Digest digest,
        bool content
    ) =>
        connection
            .Query(
                $"""
                SELECT m.digest, m.media_type, length(m.content){(content ? ", m.content" : "")}
                FROM repositories r JOIN manifests m ON m.repository = r.id
                WHERE r.name = @name AND m.digest = @digest
                """,
                row => Map(row, content),
                ("name", repository.Value),
                ("digest", digest.ToString())
            )
            .FirstOrDefault();

    private static StoredManifest? Select(DbConnection connection, RepositoryName repository, Tag tag, bool content) =>
        connection
            .Query(
                $"""
                SELECT m.digest, m.media_type, length(m.content){(content ? ", m.content" : "")}
                FROM repositories r
                JOIN tags t ON t.repository = r.id
                JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest
                WHERE r.name = @name AND t.name = @tag
                """,
                row => Map(row, content),
                ("name", repository.Value),
                ("tag", tag.Value)
            )
            .FirstOrDefault();

    private static StoredManifest Map(DbDataReader row, bool content) =>
        new(
            Digest.Parse(row.GetString(0)),
            row.GetString(1),
            row.GetInt64(2),
            content ? row.GetFieldValue<byte[]>(3) : ReadOnlyMemory<byte>.Empty
        );
}
