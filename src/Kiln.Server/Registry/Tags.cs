using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Delivery;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>Tags of repositories.</summary>
internal sealed class Tags(
    Database database,
    ImmutableTags immutable,
    Quotas quotas,
    Webhooks webhooks,
    TimeProvider time
)
{
    /// <summary>Points a tag at a manifest that the repository has.</summary>
    public void Set(DbTransaction transaction, long repository, RepositoryName name, Tag tag, Digest digest)
    {
        var now = time.GetUtcNow();
        if (quotas.Hold(name) && !Exists(transaction, repository, tag))
        {
            quotas.AddTags(transaction, name, 1);
        }

        transaction.Run(
            """
            INSERT INTO tags (repository, name, digest, updated) VALUES (@repository, @tag, @digest, @now)
            ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest, updated = excluded.updated
            """,
            ("repository", repository),
            ("tag", tag.Value),
            ("digest", digest.ToString()),
            ("now", now.ToUnixTimeMilliseconds())
        );
        BaseMoves.Note(database, transaction, name, tag, digest, time);
        Note(transaction, name, tag.Value, digest, now);
    }

    /// <summary>The tags that point at a manifest.</summary>
    public IReadOnlyList<string> Of(RepositoryName name, Digest digest) =>
        database.Read(c =>
            c.Query(
                """
                SELECT t.name FROM tags t JOIN repositories r ON r.id = t.repository
                WHERE r.name = @name AND t.digest = @digest ORDER BY t.name
                """,
                row => row.GetString(0),
                ("name", name.Value),
                ("digest", digest.ToString())
            )
        );

    /// <summary>Removes the tags that point at a manifest.</summary>
    /// <returns>Which.</returns>
    /// <exception cref="OciException"><c>DENIED</c>, 409: one of them is immutable.</exception>
    public IReadOnlyList<string> RemoveAll(
        DbTransaction transaction,
        long repository,
        RepositoryName name,
        Digest digest
    )
    {
        var removed = transaction.Query(
            "DELETE FROM tags WHERE repository = @repository AND digest = @digest RETURNING name",
            row => row.GetString(0),
            ("repository", repository),
            ("digest", digest.ToString())
        );
        quotas.AddTags(transaction, name, -removed.Count);
        removed.ForEach(tag => immutable.RequireDeletable(name, tag));
        var now = time.GetUtcNow();
        removed.ForEach(tag => Note(transaction, name, tag, digest: null, now));
        return removed;
    }

    /// <summary>Removes a tag; the manifest stays.</summary>
    /// <exception cref="OciException"><c>MANIFEST_UNKNOWN</c>, 404, or <c>DENIED</c>, 409: it is immutable.</exception>
    public Task DeleteAsync(RepositoryName name, Tag tag, Precondition? precondition, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var repository = Repositories.Find(transaction.Connection!, name) ?? 0;
                precondition?.Check(transaction, repository, tag);
                if (!Remove(transaction, repository, name, tag.Value))
                {
                    throw new OciException(ErrorCodes.ManifestUnknown, $"repository {name} has no tag {tag}");
                }
            },
            cancel
        );

    private static bool Exists(DbTransaction transaction, long repository, Tag tag) =>
        transaction.Scalar<long?>(
            "SELECT 1 FROM tags WHERE repository = @repository AND name = @tag",
            ("repository", repository),
            ("tag", tag.Value)
        )
            is not null;

    /// <summary>Removes a tag as part of a larger transaction.</summary>
    /// <returns>Whether it was there.</returns>
    /// <exception cref="OciException"><c>DENIED</c>, 409: it is immutable.</exception>
    public bool Remove(DbTransaction transaction, long repository, RepositoryName name, string tag)
    {
        // Of an upstream's tag nobody was told that it came.
        var isCopy =
            transaction.Scalar<long?>(
                "SELECT 1 FROM upstream_tags WHERE repository = @repository AND name = @tag",
                ("repository", repository),
                ("tag", tag)
            )
            is not null;
        var removed = transaction.Run(
            "DELETE FROM tags WHERE repository = @repository AND name = @tag",
            ("repository", repository),
            ("tag", tag)
        );
        if (removed == 0)
        {
            return false;
        }

        immutable.RequireDeletable(name, tag);
        quotas.AddTags(transaction, name, -1);
        if (!isCopy)
        {
            webhooks.Untagged(transaction, name, tag);
        }

        Note(transaction, name, tag, digest: null, time.GetUtcNow());
        return true;
    }

    /// <summary>
    /// Tags in byte order after <paramref name="last"/>, which is a position and need not exist any more
    /// (distribution-spec, "Listing Tags"); null where there is no such repository.
    /// </summary>
    /// <param name="limit">Tags at most.</param>
    public Page<string>? List(RepositoryName name, string? last, int limit) =>
        database.Read(c =>
        {
            if (Repositories.Find(c, name) is not { } repository)
            {
                return null;
            }

            var rows = c.Query(
                """
                SELECT name FROM tags WHERE repository = @repository AND name > @last ORDER BY name LIMIT @limit
                """,
                row => row.GetString(0),
                ("repository", repository),
                ("last", last ?? ""),
                ("limit", limit + 1L)
            );
            return Page<string>.Of(limit, rows);
        });

    private static void Note(
        DbTransaction transaction,
        RepositoryName name,
        string tag,
        Digest? digest,
        DateTimeOffset now
    ) =>
        JournalOutbox.Note(
            transaction,
            new JournalEntry
            {
                Op = digest is null ? JournalOps.Untag : JournalOps.Tag,
                Repository = name.Value,
                Tag = tag,
                Digest = digest?.ToString(),
                Time = now.ToUnixTimeMilliseconds(),
            }
        );
}
