using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Rebuilds;

/// <summary>
/// Notes on which tags of this registry a product stands, so that it is found when one of them moves (build-extension,
/// section 17). A base that is pinned to a digest, or that is elsewhere, is none of them.
/// </summary>
internal sealed class ProductBases(BaseNames names, Database database, TimeProvider time)
{
    private const string Scheme = "docker://";

    // What a node says of bases is bounded by the size of its result only.
    private const int MaxBases = 32;

    /// <summary>Notes what a job's tags stand on from now on, in the transaction that moves them.</summary>
    public void Follow(DbTransaction transaction, JobRow job, IEnumerable<TaskRow> tasks, IReadOnlyList<string> tags)
    {
        var bases = tasks.SelectMany(t => Of(t.Execution)).Distinct().Take(MaxBases).ToList();
        foreach (var tag in tags)
        {
            var tried = job.Trigger == JobTriggers.Base ? Tried(transaction, job, tag) : [];
            transaction.Run(
                "DELETE FROM tag_bases WHERE repository = @repository AND product = @product",
                ("repository", job.RepositoryId),
                ("product", tag)
            );
            foreach (var one in bases)
            {
                transaction.Run(
                    """
                    INSERT INTO tag_bases (repository, product, job, base, base_tag, digest, tried)
                    VALUES (@repository, @product, @job, @base, @tag, @digest, @tried)
                    """,
                    ("repository", job.RepositoryId),
                    ("product", tag),
                    ("job", job.Id),
                    ("base", one.Repository.Value),
                    ("tag", one.Tag.Value),
                    ("digest", one.Digest.ToString()),
                    ("tried", tried.GetValueOrDefault((one.Repository.Value, one.Tag.Value)))
                );
            }
        }

        bases.ForEach(one => NoteMoved(transaction, one));
    }

    // For what the job was started: one that does not have what the tag points at, whatever its node makes of it, would be
    // built over and over.
    private static Dictionary<(string Base, string Tag), string> Tried(
        DbTransaction transaction,
        JobRow job,
        string product
    ) =>
        transaction
            .Query(
                """
                SELECT base, base_tag, MAX(tried) FROM tag_bases
                WHERE repository = @repository AND product = @product AND tried IS NOT NULL GROUP BY base, base_tag
                """,
                row => (Base: row.GetString(0), Tag: row.GetString(1), Tried: row.GetString(2)),
                ("repository", job.RepositoryId),
                ("product", product)
            )
            .ToDictionary(row => (row.Base, row.Tag), row => row.Tried);

    // It may have moved while the build ran.
    private void NoteMoved(DbTransaction transaction, ProductBase one)
    {
        if (
            BaseMoves.Current(transaction.Connection!, one.Repository, one.Tag.Value) is [var now, ..] current
            && !current.Contains(one.Digest.ToString(), StringComparer.Ordinal)
        )
        {
            BaseMoves.Note(database, transaction, one.Repository, one.Tag, Digest.Parse(now), time);
        }
    }

    private IEnumerable<ProductBase> Of(ExecutionRow execution) =>
        execution.Dependencies is { } json
            ? JsonSerializer
                .Deserialize(json, BuildJson.Default.IReadOnlyListResolvedDependency)!
                .Select(Find)
                .OfType<ProductBase>()
            : [];

    private ProductBase? Find(ResolvedDependency dependency)
    {
        if (
            !dependency.Uri.StartsWith(Scheme, StringComparison.Ordinal)
            || !Reference.TryParse(dependency.Uri[Scheme.Length..], out var reference)
            || reference.Digest is not null
        )
        {
            return null;
        }

        try
        {
            return names.Here(reference) is { } repository
                ? new ProductBase(repository, Tag.Parse(reference.ManifestReference), dependency.Digest)
                : null;
        }
        catch (OciException)
        {
            // Too long a name for a copy: it was not had from here.
            return null;
        }
    }

    private sealed record ProductBase(RepositoryName Repository, Tag Tag, Digest Digest);
}
