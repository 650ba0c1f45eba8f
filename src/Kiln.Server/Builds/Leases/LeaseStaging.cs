using System.Data.Common;
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
            var digest = await upload.CommitAsync(cancel);
            await database.WriteAsync(
                transaction =>
                {
                    RequireHeld(transaction, lease);
                    blobs.Record(transaction, digest, size);
                    transaction.Run(
                        "INSERT INTO lease_blobs (lease, digest) VALUES (@lease, @digest) ON CONFLICT DO NOTHING",
                        ("lease", lease),
                        ("digest", digest.ToString())
                    );
                },
                cancel
            );
            layers.Warm(digest);
            return (digest, size);
        }
        finally
        {
            await store.DiscardAsync(id, CancellationToken.None);
        }
    }

    /// <summary>Takes a manifest by digest.</summary>
    /// <exception cref="OciException">It is no manifest, or too large.</exception>
    public async Task<Descriptor> PushManifestAsync(
        string lease,
        ReadOnlyMemory<byte> manifest,
        string mediaType,
        CancellationToken cancel
    )
    {
        if (manifest.Length > options.MaxManifestBytes)
        {
            throw new OciException(
                ErrorCodes.ManifestTooLarge,
                $"a manifest may have {options.MaxManifestBytes} bytes at most"
            );
        }

        if (ManifestReader.Read(manifest, mediaType, out var fault) is null)
        {
            throw new OciException(ErrorCodes.ManifestInvalid, fault ?? "the manifest cannot be read");
        }

        var digest = Digest.Of(manifest.Span);
        await database.WriteAsync(
            transaction =>
            {
                RequireHeld(transaction, lease);
                transaction.Run(
                    """
                    INSERT INTO lease_manifests (lease, digest, media_type, content)
                    VALUES (@lease, @digest, @type, @content) ON CONFLICT DO NOTHING
                    """,
                    ("lease", lease),
                    ("digest", digest.ToString()),
                    ("type", mediaType),
                    ("content", manifest.ToArray())
                );
            },
            cancel
        );
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = digest,
            Size = manifest.Length,
        };
    }

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
