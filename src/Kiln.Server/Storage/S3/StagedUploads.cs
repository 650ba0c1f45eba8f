using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Storage.S3;

/// <summary>An object that holds some of an upload's bytes.</summary>
/// <param name="Size">In bytes.</param>
internal sealed record StagedPart(int Ordinal, string Key, long Size);

/// <summary>What is known of an upload that a request has taken.</summary>
/// <param name="Fence">Of this request; whoever has a smaller one is refused.</param>
/// <param name="Digest">Of all bytes, where the last request that had the upload knew.</param>
/// <param name="Commit">A commit that did not come to its end.</param>
internal sealed record StagedState(
    long Fence,
    IReadOnlyList<StagedPart> Parts,
    Digest? Digest,
    (string Key, string Multipart)? Commit
);

/// <summary>
/// Uploads under way, and whose each is: rows, since a bucket knows no locks. An upload belongs to one server at a time; one
/// that a dead server had is free. Each taking has a fencing number, so that the dead one's late word changes nothing.
/// </summary>
internal sealed class StagedUploads(Database database, ServerPresence presence, TimeProvider time)
{
    /// <summary>Objects of one upload.</summary>
    public const int MaxParts = 10_000;

    /// <summary>Bytes stored; null where there is no such upload.</summary>
    public long? Size(string id) =>
        database.Read(c =>
            c.Scalar<long?>(
                """
                SELECT CAST((SELECT COALESCE(SUM(size), 0) FROM staged_parts WHERE upload = @id) AS BIGINT)
                FROM staged_uploads WHERE id = @id
                """,
                ("id", id)
            )
        );

    /// <summary>Takes an upload that is there.</summary>
    /// <returns>Null where another server has it, which is alive.</returns>
    public Task<StagedState?> TakeAsync(string id, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var fence = transaction.Scalar<long?>(
                    """
                    UPDATE staged_uploads SET fence = fence + 1, holder = @self, updated = @now
                    WHERE id = @id AND (holder IS NULL OR holder = @self
                        OR NOT EXISTS (SELECT 1 FROM servers s WHERE s.id = holder AND s.seen > @alive))
                    RETURNING fence
                    """,
                    ("id", id),
                    ("self", presence.Self),
                    ("now", time.Milliseconds()),
                    ("alive", presence.AliveSince)
                );
                return fence is null ? null : State(transaction, id, fence.Value);
            },
            cancel
        );

    /// <summary>Begins an upload that nobody has begun.</summary>
    /// <exception cref="OciException">Somebody else has, meanwhile: 409.</exception>
    public Task<StagedState> CreateAsync(string id, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
                transaction.Run(
                    """
                    INSERT INTO staged_uploads (id, fence, holder, updated) VALUES (@id, 1, @self, @now)
                    ON CONFLICT DO NOTHING
                    """,
                    ("id", id),
                    ("self", presence.Self),
                    ("now", time.Milliseconds())
                ) == 1
                    ? new StagedState(1, [], null, null)
                    : throw Lost(),
            cancel
        );

    /// <summary>Notes an object that is durable.</summary>
    public Task AddAsync(string id, long fence, StagedPart part, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                Hold(transaction, id, fence);
                transaction.Run(
                    "INSERT INTO staged_parts (upload, ordinal, key, size) VALUES (@id, @ordinal, @key, @size)",
                    ("id", id),
                    ("ordinal", part.Ordinal),
                    ("key", part.Key),
                    ("size", part.Size)
                );
                transaction.Run("UPDATE staged_uploads SET digest = NULL WHERE id = @id", ("id", id));
            },
            cancel
        );

    /// <summary>Notes what a commit begins in the bucket, so that somebody can clear it away.</summary>
    public Task CommittingAsync(string id, long fence, string key, string multipart, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                Hold(transaction, id, fence);
                transaction.Run(
                    "UPDATE staged_uploads SET multipart = @multipart, multipart_key = @key WHERE id = @id",
                    ("id", id),
                    ("multipart", multipart),
                    ("key", key)
                );
            },
            cancel
        );

    /// <summary>Lets go of an upload, with as many of its parts as are to be kept, and the digest of those where it is known.</summary>
    public Task ReleaseAsync(string id, long fence, int parts, Digest? digest, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                Hold(transaction, id, fence);
                transaction.Run(
                    "DELETE FROM staged_parts WHERE upload = @id AND ordinal >= @parts",
                    ("id", id),
                    ("parts", parts)
                );
                transaction.Run(
                    """
                    UPDATE staged_uploads SET holder = NULL, digest = @digest, multipart = NULL, multipart_key = NULL,
                        updated = @now WHERE id = @id
                    """,
                    ("id", id),
                    ("digest", digest?.ToString()),
                    ("now", time.Milliseconds())
                );
            },
            cancel
        );

    /// <summary>Forgets an upload.</summary>
    public Task RemoveAsync(string id, long fence, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                Hold(transaction, id, fence);
                transaction.Run("DELETE FROM staged_parts WHERE upload = @id", ("id", id));
                transaction.Run("DELETE FROM staged_uploads WHERE id = @id", ("id", id));
            },
            cancel
        );

    /// <summary>Uploads that nobody has touched since.</summary>
    public IReadOnlyList<string> Before(DateTimeOffset before) =>
        database.Read(c =>
            c.Query(
                "SELECT id FROM staged_uploads WHERE updated < @before",
                row => row.GetString(0),
                ("before", before.ToUnixTimeMilliseconds())
            )
        );

    /// <summary>Whether an object belongs to an upload.</summary>
    public bool Has(string id, string key) =>
        database.Read(c =>
            c.Scalar<long?>("SELECT 1 FROM staged_parts WHERE upload = @id AND key = @key", ("id", id), ("key", key))
        )
            is not null;

    /// <summary>The refusal of a request that another has overtaken.</summary>
    public static OciException Lost() =>
        new(
            ErrorCodes.BlobUploadBusy,
            "another request has taken this upload over; wait for its end, then ask the upload for its range"
        );

    private static void Hold(DbTransaction transaction, string id, long fence)
    {
        if (
            transaction.Scalar<long?>(
                "SELECT 1 FROM staged_uploads WHERE id = @id AND fence = @fence",
                ("id", id),
                ("fence", fence)
            )
            is null
        )
        {
            throw Lost();
        }
    }

    private static StagedState State(DbTransaction transaction, string id, long fence)
    {
        var parts = transaction.Query(
            "SELECT ordinal, key, size FROM staged_parts WHERE upload = @id ORDER BY ordinal",
            row => new StagedPart((int)row.GetInt64(0), row.GetString(1), row.GetInt64(2)),
            ("id", id)
        );
        return transaction
            .Query(
                "SELECT digest, multipart, multipart_key FROM staged_uploads WHERE id = @id",
                row => new StagedState(
                    fence,
                    parts,
                    row.TextOrNull(0) is { } digest ? Digest.Parse(digest) : null,
                    row.TextOrNull(1) is { } multipart ? (row.GetString(2), multipart) : null
                ),
                ("id", id)
            )
            .Single();
    }
}
