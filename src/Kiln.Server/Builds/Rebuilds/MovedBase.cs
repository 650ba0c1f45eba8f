using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Rebuilds;

/// <summary>A tag that something stands on, as it is noted in <c>base_moves</c>.</summary>
/// <param name="Noted">Tells this move from a later one of the same tag.</param>
/// <param name="Since">When it moved, in Unix milliseconds.</param>
/// <param name="Digest">Where the tag points now.</param>
internal sealed record MovedBase(RepositoryName Repository, string Tag, string Noted, long Since, string Digest)
{
    /// <summary>As chains of moves name it.</summary>
    public string Name => $"{Repository}:{Tag}";

    /// <summary>Moves that are to be looked at, the oldest first. Where the tag is gone, the digest is empty.</summary>
    /// <param name="limit">Moves at most.</param>
    public static List<MovedBase> Due(DbConnection connection, long now, int limit) =>
        connection
            .Query(
                """
                SELECT base, base_tag, noted, since FROM base_moves WHERE due <= @now ORDER BY due, base, base_tag LIMIT @limit
                """,
                row => new MovedBase(
                    RepositoryName.Parse(row.GetString(0)),
                    row.GetString(1),
                    row.GetString(2),
                    row.GetInt64(3),
                    ""
                ),
                ("now", now),
                ("limit", (long)limit)
            )
            .ConvertAll(moved =>
                moved with
                {
                    Digest = BaseMoves.Current(connection, moved.Repository, moved.Tag) is [var digest, ..]
                        ? digest
                        : "",
                }
            );

    /// <summary>The jobs whose products stand on something else than the tag now points at, the oldest first.</summary>
    public List<StaleProduct> Stale(DbConnection connection)
    {
        var current = BaseMoves.Current(connection, Repository, Tag).ToHashSet(StringComparer.Ordinal);
        return
        [
            .. connection
                .Query(
                    """
                    SELECT t.job, r.name, t.product, t.digest FROM tag_bases t JOIN repositories r ON r.id = t.repository
                    WHERE t.base = @base AND t.base_tag = @tag AND (t.tried IS NULL OR t.tried <> @digest)
                    ORDER BY t.job, t.product
                    """,
                    row =>
                        (
                            Job: row.GetString(0),
                            Repository: row.GetString(1),
                            Product: row.GetString(2),
                            Digest: row.GetString(3)
                        ),
                    ("base", Repository.Value),
                    ("tag", Tag),
                    ("digest", Digest)
                )
                .Where(row => !current.Contains(row.Digest))
                .GroupBy(row => (row.Job, row.Repository))
                .Select(rows => new StaleProduct(
                    rows.Key.Job,
                    RepositoryName.Parse(rows.Key.Repository),
                    [.. rows.Select(row => row.Product).Distinct(StringComparer.Ordinal)]
                )),
        ];
    }

    /// <summary>The tags whose moves led to this one, and this one at the end.</summary>
    public IReadOnlyList<string> Chain(DbConnection connection)
    {
        var job = connection.Scalar<string>(
            """
            SELECT t.job FROM tag_bases t JOIN repositories r ON r.id = t.repository
            WHERE r.name = @base AND t.product = @tag LIMIT 1
            """,
            ("base", Repository.Value),
            ("tag", Tag)
        );
        return
            job is not null
            && JobRow.Find(connection, job) is { BaseChain: { } chain } row
            && StaleProduct.DigestOf(row) == Digest
            ? [.. JsonSerializer.Deserialize(chain, BuildJson.Default.IReadOnlyListString)!, Name]
            : [Name];
    }

    /// <summary>Nothing is left to do for this move; one that was noted since stays.</summary>
    public void Forget(DbTransaction transaction) =>
        transaction.Run(
            "DELETE FROM base_moves WHERE base = @base AND base_tag = @tag AND noted = @noted",
            ("base", Repository.Value),
            ("tag", Tag),
            ("noted", Noted)
        );

    /// <summary>It is looked at again later, in Unix milliseconds.</summary>
    public void PutOff(DbTransaction transaction, long until) =>
        transaction.Run(
            "UPDATE base_moves SET due = @until WHERE base = @base AND base_tag = @tag AND noted = @noted",
            ("base", Repository.Value),
            ("tag", Tag),
            ("noted", Noted),
            ("until", until)
        );
}

/// <summary>A job whose product stands on what a base was before.</summary>
/// <param name="Tags">Those of its tags that no later job has moved.</param>
internal sealed record StaleProduct(string Job, RepositoryName Repository, IReadOnlyList<string> Tags)
{
    /// <summary>The index that a job has published; null where it has none.</summary>
    public static string? DigestOf(JobRow job) =>
        job.Result is { } result
            ? JsonSerializer.Deserialize(result, BuildJson.Default.JobResult)?.Manifest.Digest.ToString()
            : null;

    /// <summary>Those of the tags that still point at the job's product: what others have delivered stays.</summary>
    public IReadOnlyList<string> TagsOf(DbConnection connection, JobRow job)
    {
        var product = DigestOf(job);
        var pointing = JobTags.Pointing(connection, job.RepositoryId, Tags.Select(Kiln.Oci.Tag.Parse));
        return [.. Tags.Where(tag => pointing.GetValueOrDefault(tag) == product)];
    }

    /// <summary>Notes that a build was started for a move of a base, or refused: there is none for it any more.</summary>
    /// <returns>False where that was noted before.</returns>
    public bool Mark(DbTransaction transaction, MovedBase moved) =>
        transaction.Run(
            """
            UPDATE tag_bases SET tried = @digest WHERE base = @base AND base_tag = @tag AND job = @job
                AND (tried IS NULL OR tried <> @digest)
            """,
            ("digest", moved.Digest),
            ("base", moved.Repository.Value),
            ("tag", moved.Tag),
            ("job", Job)
        ) > 0;
}
