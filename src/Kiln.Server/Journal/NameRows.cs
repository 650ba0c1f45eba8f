using System.Data.Common;
using Kiln.Server.Metadata;

namespace Kiln.Server.Journal;

/// <summary>
/// Makes rows of entries. A manifest's row has no content yet, and a blob's no size (<see cref="Unknown"/>): both come from
/// the blob store afterwards.
/// </summary>
internal static class NameRows
{
    /// <summary>A blob's size before it was looked up.</summary>
    public const long Unknown = -1;

    /// <summary>Does to the rows what an entry says.</summary>
    public static void Apply(DbTransaction transaction, JournalEntry entry)
    {
        if (entry.Op == JournalOps.Unrepository)
        {
            Forget(transaction, entry);
            return;
        }

        var repository = Repository(transaction, entry);
        switch (entry.Op)
        {
            case JournalOps.Link:
                Run(
                    transaction,
                    entry,
                    repository,
                    "INSERT INTO blobs (digest, size, created) VALUES (@digest, -1, @time) ON CONFLICT DO NOTHING",
                    """
                    INSERT INTO repository_blobs (repository, digest, created) VALUES (@repository, @digest, @time)
                    ON CONFLICT DO NOTHING
                    """
                );
                break;
            case JournalOps.Unlink:
                Run(
                    transaction,
                    entry,
                    repository,
                    "DELETE FROM repository_blobs WHERE repository = @repository AND digest = @digest"
                );
                break;
            case JournalOps.Manifest:
                Manifest(transaction, entry, repository);
                break;
            case JournalOps.Unmanifest:
                Run(
                    transaction,
                    entry,
                    repository,
                    "DELETE FROM manifests WHERE repository = @repository AND digest = @digest"
                );
                break;
            case JournalOps.Tag:
                Run(
                    transaction,
                    entry,
                    repository,
                    """
                    INSERT INTO tags (repository, name, digest, updated) VALUES (@repository, @tag, @digest, @time)
                    ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest, updated = excluded.updated
                    """
                );
                break;
            case JournalOps.Untag:
                Run(transaction, entry, repository, "DELETE FROM tags WHERE repository = @repository AND name = @tag");
                break;
        }
    }

    // Where lines before it are damaged, something may seem to be left.
    private static void Forget(DbTransaction transaction, JournalEntry entry) =>
        transaction.Run(
            """
            DELETE FROM repositories WHERE name = @name
            AND NOT EXISTS (SELECT 1 FROM repository_blobs x WHERE x.repository = repositories.id)
            AND NOT EXISTS (SELECT 1 FROM manifests x WHERE x.repository = repositories.id)
            AND NOT EXISTS (SELECT 1 FROM tags x WHERE x.repository = repositories.id)
            """,
            ("name", entry.Repository)
        );

    private static void Manifest(DbTransaction transaction, JournalEntry entry, long repository) =>
        transaction.Run(
            """
            INSERT INTO manifests (repository, digest, media_type, content, created)
            VALUES (@repository, @digest, @type, @content, @time)
            ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type
            """,
            ("repository", repository),
            ("digest", entry.Digest),
            ("type", entry.MediaType),
            ("content", Array.Empty<byte>()),
            ("time", entry.Time)
        );

    private static long Repository(DbTransaction transaction, JournalEntry entry) =>
        transaction.Scalar<long?>("SELECT id FROM repositories WHERE name = @name", ("name", entry.Repository))
        ?? transaction.Scalar<long>(
            "INSERT INTO repositories (name, created) VALUES (@name, @time) RETURNING id",
            ("name", entry.Repository),
            ("time", entry.Time)
        );

    private static void Run(DbTransaction transaction, JournalEntry entry, long repository, params string[] statements)
    {
        foreach (var sql in statements)
        {
            // Both drivers refuse a value that the statement does not name.
            var values = new List<(string, object?)>();
            Add("repository", repository);
            Add("digest", entry.Digest);
            Add("tag", entry.Tag);
            Add("time", entry.Time);
            transaction.Run(sql, [.. values]);

            void Add(string name, object? value)
            {
                if (sql.Contains("@" + name, StringComparison.Ordinal))
                {
                    values.Add((name, value));
                }
            }
        }
    }
}
