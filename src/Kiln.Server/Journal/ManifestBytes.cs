using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Journal;

/// <summary>The bytes of manifests on their way into the blob store, where they are blobs of no repository.</summary>
internal sealed class ManifestBytes(IBlobStore blobs, CondemnedBlobs condemned, TimeProvider time)
{
    /// <summary>
    /// The bytes of the manifests that entries name; none of one that was deleted since. The entries are cut short where
    /// their manifests have too many bytes together.
    /// </summary>
    public static (
        List<(long Id, JournalEntry Entry)> Entries,
        List<(Digest Digest, ReadOnlyMemory<byte> Bytes)> Manifests
    ) Of(DbConnection connection, List<(long Id, JournalEntry Entry)> entries, long maxBytes)
    {
        var manifests = new List<(Digest, ReadOnlyMemory<byte>)>();
        long total = 0;
        for (var i = 0; i < entries.Count; i++)
        {
            if (entries[i].Entry is not { Op: JournalOps.Manifest, Digest: { } digest })
            {
                continue;
            }

            if (total >= maxBytes)
            {
                return (entries[..i], manifests);
            }

            if (Find(connection, digest) is { } content)
            {
                manifests.Add((Digest.Parse(digest), content));
                total += content.Length;
            }
        }

        return (entries, manifests);
    }

    /// <summary>Manifests whose bytes are not in the blob store as far as the database knows.</summary>
    /// <param name="last">Those after this digest, in byte order; empty is all.</param>
    /// <param name="limit">Manifests at most.</param>
    public static List<(Digest Digest, ReadOnlyMemory<byte> Bytes)> Missing(
        DbConnection connection,
        string last,
        int limit
    ) =>
        connection.Query<(Digest, ReadOnlyMemory<byte>)>(
            """
            SELECT m.digest, m.content FROM manifests m
            WHERE m.digest > @last AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.digest = m.digest)
            ORDER BY m.digest LIMIT @limit
            """,
            row => (Digest.Parse(row.GetString(0)), row.GetFieldValue<byte[]>(1)),
            ("last", last),
            ("limit", (long)limit)
        );

    /// <summary>Stores the bytes, once nobody is deleting them.</summary>
    public async Task StoreAsync(
        IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> manifests,
        CancellationToken cancel
    )
    {
        foreach (var (digest, _) in manifests)
        {
            await condemned.PrepareAsync(digest, cancel);
        }

        await blobs.PutAsync(manifests, cancel);
    }

    /// <summary>Notes that the bytes are in the blob store, in the transaction of <paramref name="work"/>.</summary>
    /// <param name="work">Returns false where nothing is to be noted.</param>
    /// <exception cref="OciException"><c>UNAVAILABLE</c>: some were deleted since they were stored; to be tried again.</exception>
    public Task<bool> RecordAsync(
        IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> manifests,
        Func<DbTransaction, bool> work,
        CancellationToken cancel
    ) =>
        condemned.RecordAsync(
            [.. manifests.Select(m => m.Digest)],
            transaction =>
            {
                if (!work(transaction))
                {
                    return false;
                }

                foreach (var (digest, bytes) in manifests)
                {
                    transaction.Run(
                        "INSERT INTO blobs (digest, size, created) VALUES (@digest, @size, @now) ON CONFLICT DO NOTHING",
                        ("digest", digest.ToString()),
                        ("size", (long)bytes.Length),
                        ("now", time.Milliseconds())
                    );
                }

                return true;
            },
            cancel
        );

    private static byte[]? Find(DbConnection connection, string digest) =>
        connection
            .Query(
                "SELECT content FROM manifests WHERE digest = @digest LIMIT 1",
                row => row.GetFieldValue<byte[]>(0),
                ("digest", digest)
            )
            .FirstOrDefault();
}
