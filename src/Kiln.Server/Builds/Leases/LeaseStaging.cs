using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Leases;

/// <summary>
/// What a lease has pushed and nobody else may see: not listed, not pullable, without effect on anything, until the
/// registry promotes what the accepted result names (build-extension, decision 10).
/// </summary>
internal sealed class LeaseStaging(
    Database database,
    IBlobStore store,
    Blobs blobs,
    CondemnedBlobs condemned,
    LayerFactsStore layers,
    ServerOptions options,
    TimeProvider time
)
{
    /// <summary>Whether a product may name the blob: it is visible in the repository or was pushed under the lease.</summary>
    public bool HasBlob(string lease, long repository, Digest digest) =>
        database.Read(c =>
            Blobs.IsLinked(c, repository, digest)
            || c.Scalar<long?>(
                "SELECT 1 FROM lease_blobs WHERE lease = @lease AND digest = @digest",
                ("lease", lease),
                ("digest", digest.ToString())
            )
                is not null
        );

    /// <summary>As <see cref="HasBlob"/>, for a node that will not push it then: it stays long enough for the product.</summary>
    public async Task<bool> PromiseBlobAsync(string lease, long repository, Digest digest, CancellationToken cancel)
    {
        if (database.Read(c => Blobs.IsLinked(c, repository, digest)))
        {
            var condemnedHere = database.Read(c => Blobs.IsCondemned(c, repository, digest));
            if (!condemnedHere || await database.WriteAsync(t => Blobs.Rescue(t, repository, digest), cancel))
            {
                return true;
            }
        }

        return HasBlob(lease, repository, digest);
    }

    /// <summary>Takes a blob's bytes as <paramref name="write"/> writes them, and hashes them on their way.</summary>
    public async Task<(Digest Digest, long Size)> PushBlobAsync(
        string lease,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    )
    {
        var id = Ids.New(time);
        try
        {
            await using var upload = await store.UploadAsync(id, Digest.Sha256, cancel);
            await using (var stream = new UploadStream(upload, options.MaxBlobBytes))
            {
                await write(stream, cancel);
            }

            var size = upload.Length;
            await condemned.PrepareAsync(await upload.DigestAsync(cancel), cancel);
            var digest = await upload.CommitAsync(cancel);
            await condemned.RecordAsync(
                [digest],
                transaction =>
                {
                    Record(transaction, lease, digest, size);
                    return true;
                },
                cancel
            );
            return (digest, size);
        }
        finally
        {
            await store.DiscardAsync(id, CancellationToken.None);
        }
    }

    /// <summary>Notes a blob that is in the store and that the lease has pushed, or may have from elsewhere.</summary>
    public void Record(DbTransaction transaction, string lease, Digest digest, long size)
    {
        RequireHeld(transaction, lease);
        blobs.Record(transaction, digest, size);
        transaction.Run(
            "INSERT INTO lease_blobs (lease, digest) VALUES (@lease, @digest) ON CONFLICT DO NOTHING",
            ("lease", lease),
            ("digest", digest.ToString())
        );
        database.AfterCommit(transaction, () => layers.Warm(digest));
    }

    /// <summary>Lets the lease's product name a blob that is in the store already.</summary>
    /// <returns>False where it has gone meanwhile.</returns>
    public Task<bool> TakeAsync(string lease, Digest digest, long size, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                if (!Blobs.IsKnown(transaction, digest))
                {
                    return false;
                }

                Record(transaction, lease, digest, size);
                return true;
            },
            cancel
        );

    /// <summary>Takes a manifest by digest.</summary>
    /// <param name="tagged">Whether it was pushed to the lease's staging tag.</param>
    /// <exception cref="OciException">It is no manifest, or too large, or more than a product.</exception>
    public async Task<Descriptor> PushManifestAsync(
        string lease,
        ReadOnlyMemory<byte> manifest,
        string? mediaType,
        CancellationToken cancel,
        Digest? expected = null,
        bool tagged = false
    )
    {
        if (manifest.Length > options.MaxManifestBytes)
        {
            throw new OciException(
                ErrorCodes.ManifestTooLarge,
                $"a manifest may have {options.MaxManifestBytes} bytes at most"
            );
        }

        if (ManifestReader.Read(manifest, mediaType, out var fault) is not { } info)
        {
            throw new OciException(ErrorCodes.ManifestInvalid, fault ?? "the manifest cannot be read");
        }

        if (info.Subject is not null && !MayAttach(lease, info.Subject.Digest))
        {
            throw new OciException(
                ErrorCodes.Denied,
                "a lease attaches nothing to what is there already; push the product without a subject"
            );
        }

        var digest = Digest.Of(manifest.Span, expected?.Algorithm ?? Digest.Sha256);
        if (expected is not null && expected != digest)
        {
            throw new OciException(
                ErrorCodes.DigestInvalid,
                $"the manifest was pushed as {expected}, but its bytes have the digest {digest}"
            );
        }

        await database.WriteAsync(
            transaction =>
            {
                RequireHeld(transaction, lease);
                transaction.Run(
                    """
                    INSERT INTO lease_manifests (lease, digest, media_type, content, tagged)
                    VALUES (@lease, @digest, @type, @content, @tagged)
                    ON CONFLICT (lease, digest) DO UPDATE SET tagged = COALESCE(excluded.tagged, lease_manifests.tagged)
                    """,
                    ("lease", lease),
                    ("digest", digest.ToString()),
                    ("type", info.MediaType),
                    ("content", manifest.ToArray()),
                    ("tagged", tagged ? time.Milliseconds() : null)
                );
            },
            cancel
        );
        return new Descriptor
        {
            MediaType = info.MediaType,
            Digest = digest,
            Size = manifest.Length,
        };
    }

    // What is made of an image is attached to it: that is what the lease is for.
    private bool MayAttach(string lease, Digest subject) =>
        database.Read(c =>
            c.Scalar<string>(
                "SELECT task FROM executions WHERE lease = @lease AND recipe_type = @image",
                ("lease", lease),
                ("image", RecipeTypes.Image)
            )
        )
            is { } task
        && JsonSerializer.Deserialize(task, BuildJson.Default.LeaseTask)!.Recipe.Digest == subject;

    // A push may take longer than its lease lives; what came under a dead one, nobody would ever remove.
    private static void RequireHeld(DbTransaction transaction, string lease)
    {
        if (
            transaction.Scalar<long?>(
                "SELECT 1 FROM executions WHERE lease = @lease AND finished IS NULL",
                ("lease", lease)
            )
            is null
        )
        {
            throw new LeaseLostException($"lease {lease} was lost during a push");
        }
    }

    /// <summary>The size of a blob that was pushed under the lease; null where none was.</summary>
    public long? BlobSize(string lease, Digest digest) =>
        database.Read(c =>
            c.Scalar<long?>(
                """
                SELECT b.size FROM lease_blobs l JOIN blobs b ON b.digest = l.digest
                WHERE l.lease = @lease AND l.digest = @digest
                """,
                ("lease", lease),
                ("digest", digest.ToString())
            )
        );

    /// <summary>What the lease's staging tag points at; null where nothing was pushed to it.</summary>
    public Digest? Tagged(string lease) =>
        database.Read(c =>
            c.Scalar<string>(
                "SELECT digest FROM lease_manifests WHERE lease = @lease AND tagged IS NOT NULL ORDER BY tagged DESC LIMIT 1",
                ("lease", lease)
            )
        )
            is { } text
            ? Digest.Parse(text)
            : null;

    /// <summary>A manifest that was pushed under the lease.</summary>
    public (string MediaType, byte[] Content)? Manifest(string lease, Digest digest) =>
        database.Read(c =>
            c.Query<(string, byte[])?>(
                    "SELECT media_type, content FROM lease_manifests WHERE lease = @lease AND digest = @digest",
                    row => (row.GetString(0), row.GetFieldValue<byte[]>(1)),
                    ("lease", lease),
                    ("digest", digest.ToString())
                )
                .FirstOrDefault()
        );
}
