using System.Data.Common;
using System.Text.Json;
using Kiln.Oci;
using Kiln.Server.Delivery;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>Manifests of repositories: kept byte for byte, with what they refer to beside them.</summary>
internal sealed class Manifests(
    Database database,
    Repositories repositories,
    Tags tags,
    ImmutableTags immutable,
    Quotas quotas,
    Webhooks webhooks,
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
        Exists(transaction.Connection!, repository, digest);

    /// <inheritdoc cref="Exists(DbTransaction, long, Digest)"/>
    public static bool Exists(DbConnection connection, long repository, Digest digest) =>
        connection.Scalar<long?>(
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

                Remove(transaction, id, repository, digest);
            },
            cancel
        );

    /// <summary>
    /// Removes a manifest that no index of the repository lists, and the tags that point at it: the one way in which
    /// manifests leave.
    /// </summary>
    public void Remove(DbTransaction transaction, long repository, RepositoryName name, Digest digest)
    {
        quotas.Remove(transaction, repository, name, digest);
        var untagged = tags.RemoveAll(transaction, repository, name, digest);
        if (!IsCopy(transaction, repository, digest))
        {
            webhooks.Deleted(transaction, name, digest, untagged);
        }

        Spare(transaction, repository, digest);
        transaction.Run(
            "DELETE FROM manifest_references WHERE repository = @repository AND manifest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        );
        transaction.Run(
            "DELETE FROM manifests WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        );
        Note(transaction, JournalOps.Unmanifest, name, digest);
    }

    // Whoever was not told that it came is not told that it goes.
    private static bool IsCopy(DbTransaction transaction, long repository, Digest digest) =>
        transaction.Scalar<long?>(
            "SELECT 1 FROM upstream_manifests WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        )
            is not null;

    /// <summary>Takes a manifest out of the collector's sight.</summary>
    public static void Spare(DbTransaction transaction, long repository, Digest digest) =>
        transaction.Run(
            "DELETE FROM condemned_manifests WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        );

    /// <summary>
    /// Has a condemned manifest stay long enough for a client that was told of it to push an index that lists it.
    /// </summary>
    /// <returns>False where it has gone meanwhile.</returns>
    public Task<bool> PromiseAsync(RepositoryName name, Digest digest, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                if (Repositories.Find(transaction.Connection!, name) is not { } repository)
                {
                    return false;
                }

                transaction.Run(
                    "UPDATE condemned_manifests SET asked = @now WHERE repository = @repository AND digest = @digest",
                    ("repository", repository),
                    ("digest", digest.ToString()),
                    ("now", time.Milliseconds())
                );
                return Exists(transaction, repository, digest);
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

    /// <summary>Why the operator's rules refuse a push; null where they do not. Nothing is written.</summary>
    /// <param name="beside">Bytes of manifests that come with it; their blobs are among the layers of <paramref name="manifest"/>.</param>
    public OciError? Refusal(
        DbTransaction transaction,
        long repository,
        ManifestPush push,
        Digest digest,
        ManifestInfo manifest,
        long beside = 0
    ) =>
        immutable.Refusal(transaction, repository, push.Repository, push.Tags, digest)
        ?? quotas.Refusal(
            transaction,
            repository,
            push.Repository,
            digest,
            push.Content.Length + beside,
            manifest,
            push.Tags
        );

    /// <summary>The digests that a manifest refers to, its subject not among them.</summary>
    public static IEnumerable<string> Targets(ManifestInfo manifest) =>
        ManifestRows
            .References(manifest)
            .Select(reference => reference.Digest.ToString())
            .Distinct(StringComparer.Ordinal);

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

        if (!push.IsCopy)
        {
            CheckReferences(transaction, repository, manifest);
        }

        // Before anything is written: a build that is refused ends in the same transaction.
        if (Refusal(transaction, repository, push, digest, manifest) is { } refusal)
        {
            throw new OciException(refusal);
        }

        var counts = quotas.Hold(push.Repository) && !Exists(transaction, repository, digest);
        var isFirst = counts && !Quotas.HasManifest(transaction.Connection!, repository);
        ManifestRows.Insert(transaction, repository, digest, manifest, push.Content, time.Milliseconds());
        if (counts)
        {
            quotas.Add(transaction, push.Repository, digest, push.Content.Length, manifest, isFirst);
        }

        Spare(transaction, repository, digest);
        Note(transaction, JournalOps.Manifest, push.Repository, digest, manifest.MediaType);
        foreach (var tag in push.Tags)
        {
            tags.Set(transaction, repository, push.Repository, tag, digest);
        }

        var size = push.Content.Length;
        if (!push.IsCopy)
        {
            // Nobody pushed what was fetched from an upstream.
            webhooks.Pushed(transaction, push.Repository, digest, manifest, size, push.Tags, push.Principal);
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

        foreach (var child in manifest.Manifests.DistinctBy(child => child.Digest))
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

    internal static IEnumerable<Descriptor> RequiredBlobs(ManifestInfo manifest) =>
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

    private void Note(
        DbTransaction transaction,
        string op,
        RepositoryName repository,
        Digest digest,
        string? mediaType = null
    ) =>
        JournalOutbox.Note(
            transaction,
            new JournalEntry
            {
                Op = op,
                Repository = repository.Value,
                Digest = digest.ToString(),
                MediaType = mediaType,
                Time = time.Milliseconds(),
            }
        );

    private static string? Parent(DbTransaction transaction, long repository, Digest digest) =>
        transaction.Scalar<string>(
            """
            SELECT manifest FROM manifest_references
            WHERE repository = @repository AND digest = @digest AND kind = 'manifest' LIMIT 1
            """,
            ("repository", repository),
            ("digest", digest.ToString())
        );

    private StoredManifest? Select(DbConnection connection, RepositoryName repository, Digest digest, bool content) =>
        connection
            .Query(
                $"""
                SELECT m.digest, m.media_type, length(m.content), {(content ? "m.content" : "NULL")}, c.asked
                FROM repositories r JOIN manifests m ON m.repository = r.id
                LEFT JOIN condemned_manifests c ON c.repository = m.repository AND c.digest = m.digest
                WHERE r.name = @name AND m.digest = @digest
                """,
                row => Map(row, content) with { IsLeaving = row.LongOrNull(4) is { } asked && IsLong(asked) },
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

    // A write for each pull of what leaves in weeks would be too much.
    private bool IsLong(long asked) => time.Milliseconds() - asked >= options.Collection.Grace.TotalMilliseconds / 4;

    private static StoredManifest Map(DbDataReader row, bool content) =>
        new(
            Digest.Parse(row.GetString(0)),
            row.GetString(1),
            row.GetInt64(2),
            content ? row.GetFieldValue<byte[]>(3) : ReadOnlyMemory<byte>.Empty
        );
}
