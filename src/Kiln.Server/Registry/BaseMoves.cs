using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>
/// Tags that products stand on and that have moved: noted in the transaction that moves them, and looked at afterwards by
/// whoever builds anew (build-extension, section 17).
/// </summary>
internal static class BaseMoves
{
    /// <summary>What who waits for moves listens to.</summary>
    public const string Topic = "bases";

    /// <summary>Notes that a tag now points at a digest, where a product stands on another one.</summary>
    public static void Note(
        Database database,
        DbTransaction transaction,
        RepositoryName repository,
        Tag tag,
        Digest digest,
        TimeProvider time
    )
    {
        var noted = transaction.Run(
            """
            INSERT INTO base_moves (base, base_tag, noted, since, due)
            SELECT DISTINCT base, base_tag, CAST(@noted AS TEXT), CAST(@now AS BIGINT), CAST(@now AS BIGINT) FROM tag_bases
            WHERE base = @base AND base_tag = @tag AND digest <> @digest
            ON CONFLICT (base, base_tag) DO UPDATE SET noted = excluded.noted, since = excluded.since, due = excluded.due
            """,
            ("noted", Guid.NewGuid().ToString("n")),
            ("now", time.Milliseconds()),
            ("base", repository.Value),
            ("tag", tag.Value),
            ("digest", digest.ToString())
        );
        if (noted > 0)
        {
            database.Signal(transaction, Topic);
        }
    }

    /// <summary>
    /// What counts as what a tag points at now: its manifest, and those of an index that it points at. Empty where there is
    /// no such tag; the tag's own digest is the first.
    /// </summary>
    public static IReadOnlyList<string> Current(DbConnection connection, RepositoryName repository, string tag)
    {
        var id = Repositories.Find(connection, repository);
        var digest = connection.Scalar<string>(
            "SELECT digest FROM tags WHERE repository = @repository AND name = @tag",
            ("repository", id ?? 0),
            ("tag", tag)
        );
        return digest is null
            ? []
            :
            [
                digest,
                .. connection.Query(
                    """
                    SELECT digest FROM manifest_references
                    WHERE repository = @repository AND manifest = @digest AND kind = 'manifest'
                    """,
                    row => row.GetString(0),
                    ("repository", id!.Value),
                    ("digest", digest)
                ),
            ];
    }
}
