using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Journal;

/// <summary>What could not be made anew: a sentence for each thing that is lost.</summary>
/// <param name="Lost">In sentences.</param>
/// <param name="Faults">What of the journal could not be used.</param>
internal sealed record RebuildReport(IReadOnlyList<string> Lost, IReadOnlyList<string> Faults);

/// <summary>
/// Makes what the registry knows of names anew from the journal and the blob store: repositories, which blobs they see,
/// manifests with what they refer to, tags. Jobs, logs, machine tokens and uploads under way are in neither.
/// </summary>
internal sealed class NameRebuild(Database database, IBlobStore store, IJournalStore journal, TimeProvider time)
{
    private const int Batch = 2000;
    private const int Page = 100;

    private readonly List<string> _lost = [];

    /// <summary>Fills an empty database.</summary>
    /// <exception cref="ServerStartException">There is no journal, or the database has repositories already.</exception>
    public async Task<RebuildReport> RunAsync(CancellationToken cancel)
    {
        if (database.Read(c => c.Scalar<long?>("SELECT id FROM repositories LIMIT 1")) is not null)
        {
            throw new ServerStartException(
                "the database that is to be made anew has repositories; move it aside, or name an empty one"
            );
        }

        var reading = new JournalReading(journal);
        await ReplayAsync(database, reading, cancel);
        if (!reading.IsThere)
        {
            throw new ServerStartException("there is no journal, so that nothing can be made anew from it");
        }

        await RecordBlobsAsync(cancel);
        await DropMissingBlobsAsync(cancel);
        await FillManifestsAsync(cancel);
        await DropDanglingTagsAsync(cancel);
        await database.WriteAsync(
            transaction =>
                transaction.Run(
                    "UPDATE journal_state SET epoch = @epoch, sequence = @next WHERE id = 1",
                    ("epoch", reading.Last.Epoch),
                    ("next", reading.Last.Next + 1)
                ),
            cancel
        );
        return new RebuildReport(_lost, reading.Faults);
    }

    /// <summary>Does to a database what the journal says.</summary>
    public static async Task ReplayAsync(Database database, JournalReading reading, CancellationToken cancel)
    {
        var batch = new List<JournalEntry>(Batch);
        await foreach (var entry in reading.EntriesAsync(cancel))
        {
            batch.Add(entry);
            if (batch.Count == Batch)
            {
                await ApplyAsync(database, batch, cancel);
                batch.Clear();
            }
        }

        await ApplyAsync(database, batch, cancel);
    }

    /// <summary>Does to a database what entries say.</summary>
    public static Task ApplyAsync(Database database, IReadOnlyList<JournalEntry> entries, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                foreach (var entry in entries)
                {
                    NameRows.Apply(transaction, entry);
                }
            },
            cancel
        );

    // All that is there, whether a repository sees it or not: what none does is the collector's.
    private async Task RecordBlobsAsync(CancellationToken cancel)
    {
        var batch = new List<(Digest Digest, long Size)>(Batch);
        await foreach (var blob in store.ListAsync(cancel))
        {
            batch.Add(blob);
            if (batch.Count == Batch)
            {
                await RecordAsync(batch, cancel);
                batch.Clear();
            }
        }

        await RecordAsync(batch, cancel);
    }

    private Task RecordAsync(List<(Digest Digest, long Size)> blobs, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                foreach (var (digest, size) in blobs)
                {
                    transaction.Run(
                        """
                        INSERT INTO blobs (digest, size, created) VALUES (@digest, @size, @now)
                        ON CONFLICT (digest) DO UPDATE SET size = excluded.size
                        """,
                        ("digest", digest.ToString()),
                        ("size", size),
                        ("now", time.Milliseconds())
                    );
                }
            },
            cancel
        );

    private async Task DropMissingBlobsAsync(CancellationToken cancel)
    {
        var missing = database.Read(c =>
            c.Query(
                """
                SELECT r.name, b.digest FROM blobs b JOIN repository_blobs l ON l.digest = b.digest
                JOIN repositories r ON r.id = l.repository WHERE b.size < 0 ORDER BY r.name, b.digest
                """,
                row => (row.GetString(0), row.GetString(1))
            )
        );
        _lost.AddRange(missing.Select(m => $"the blob {m.Item2} of {m.Item1}: its bytes are not in the blob store"));
        await database.WriteAsync(
            transaction =>
            {
                transaction.Run(
                    "DELETE FROM repository_blobs WHERE digest IN (SELECT digest FROM blobs WHERE size < 0)"
                );
                transaction.Run("DELETE FROM blobs WHERE size < 0");
            },
            cancel
        );
    }

    private async Task FillManifestsAsync(CancellationToken cancel)
    {
        for (var (repository, digest) = (0L, ""); ; )
        {
            var page = database.Read(c =>
                c.Query(
                    """
                    SELECT m.repository, r.name, m.digest, m.media_type, m.created FROM manifests m
                    JOIN repositories r ON r.id = m.repository
                    WHERE m.repository > @repository OR (m.repository = @repository AND m.digest > @digest)
                    ORDER BY m.repository, m.digest LIMIT @limit
                    """,
                    Empty.Map,
                    ("repository", repository),
                    ("digest", digest),
                    ("limit", (long)Page)
                )
            );
            if (page.Count == 0)
            {
                return;
            }

            (repository, digest) = (page[^1].RepositoryId, page[^1].Digest);

            var filled = new List<(Empty Row, byte[]? Content, ManifestInfo? Info)>();
            foreach (var row in page)
            {
                filled.Add(await ReadAsync(row, cancel));
            }

            await database.WriteAsync(
                transaction => filled.ForEach(f => Fill(transaction, f.Row, f.Content, f.Info)),
                cancel
            );
        }
    }

    private async Task<(Empty, byte[]?, ManifestInfo?)> ReadAsync(Empty row, CancellationToken cancel)
    {
        var digest = Digest.Parse(row.Digest);
        var content = await SmallBlob.ReadAsync(store, digest, cancel);
        var whole = content is not null && Digest.Of(content, digest.Algorithm) == digest;
        var info = whole ? ManifestReader.Read(content, row.MediaType, out _) : null;
        if (info is null)
        {
            _lost.Add(
                $"the manifest {digest} of {row.Repository}: its bytes are "
                    + (content is null ? "not in the blob store" : "damaged")
            );
        }

        return (row, content, info);
    }

    private static void Fill(DbTransaction transaction, Empty row, byte[]? content, ManifestInfo? info)
    {
        transaction.Run(
            "DELETE FROM manifests WHERE repository = @repository AND digest = @digest",
            ("repository", row.RepositoryId),
            ("digest", row.Digest)
        );
        if (info is not null)
        {
            ManifestRows.Insert(transaction, row.RepositoryId, Digest.Parse(row.Digest), info, content, row.Created);
        }
    }

    private async Task DropDanglingTagsAsync(CancellationToken cancel)
    {
        var dropped = await database.WriteAsync(
            transaction =>
                transaction.Query(
                    """
                    DELETE FROM tags WHERE NOT EXISTS (
                        SELECT 1 FROM manifests m WHERE m.repository = tags.repository AND m.digest = tags.digest
                    ) RETURNING (SELECT r.name FROM repositories r WHERE r.id = tags.repository), name, digest
                    """,
                    row => $"the tag {row.GetString(0)}:{row.GetString(1)}: its manifest {row.GetString(2)} is lost"
                ),
            cancel
        );
        _lost.AddRange(dropped.Order(StringComparer.Ordinal));
    }

    private sealed record Empty(long RepositoryId, string Repository, string Digest, string MediaType, long Created)
    {
        public static Empty Map(DbDataReader row) =>
            new(row.GetInt64(0), row.GetString(1), row.GetString(2), row.GetString(3), row.GetInt64(4));
    }
}
