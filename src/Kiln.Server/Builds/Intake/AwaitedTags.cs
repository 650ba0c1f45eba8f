using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Intake;

/// <summary>
/// What becomes of a tag that is not there: whether a job will move it, has failed to, or whether a recipe of the
/// repository waits to be built under it (build-extension, "Waiting pulls").
/// </summary>
internal sealed class AwaitedTags(JobIntake intake, Database database, BuildOptions options)
{
    // Of a repository's jobs so many of the latest are looked at: clients ask for what is not there with every push.
    private const int MaxJobs = 200;
    private const int MaxRecipes = 100;

    /// <summary>The latest job that was to move the tag; one is started where a recipe waits and the caller may.</summary>
    /// <param name="builder">The caller, where they may build here; else null.</param>
    /// <returns>Null where nobody builds it.</returns>
    public async Task<JobRow?> FindAsync(RepositoryName repository, Tag tag, string? builder, CancellationToken cancel)
    {
        if (database.Read(c => Repositories.Find(c, repository)) is not { } id)
        {
            return null;
        }

        var job = database.Read(c => Latest(c, id, tag));
        if (
            job is { Finished: null }
            || builder is null
            || options.PullBuild != PullBuilds.Recipes
            || database.Read(c => Recipe(c, id, tag)) is not var (recipe, pushed)
            || job?.Created >= pushed
        )
        {
            return job;
        }

        try
        {
            var started = await intake.SubmitAsync(
                repository,
                new JobRequest { Recipe = recipe },
                builder,
                cancel,
                JobTriggers.Pull
            );
            var row = database.Read(c => JobRow.Find(c, started));
            return row is not null && Tags(row.Tags).Contains(tag.Value) ? row : job;
        }
        catch (OciException)
        {
            // Whoever pulls did not ask for a build: what is wrong with the recipe, its push has said.
            return job;
        }
    }

    /// <summary>The job as it is now.</summary>
    public JobRow? Look(string job) => database.Read(c => JobRow.Find(c, job));

    private static JobRow? Latest(DbConnection connection, long repository, Tag tag) =>
        connection
            .Query(
                $"""
                SELECT {JobRow.Columns}
                FROM (SELECT * FROM jobs WHERE repository = @repository ORDER BY id DESC LIMIT {MaxJobs}) j
                JOIN repositories r ON r.id = j.repository
                WHERE j.tags LIKE @pattern ESCAPE '!' ORDER BY j.id DESC LIMIT 1
                """,
                JobRow.Map,
                ("repository", repository),
                // Tags have no quotes and are kept as a JSON array; of LIKE's own letters they may have '_'.
                ("pattern", $"%\"{tag.Value.Replace("_", "!_", StringComparison.Ordinal)}\"%")
            )
            .FirstOrDefault();

    // The artifact whose own tag stands for it, else the latest whose annotation names it.
    private static (RecipeSource Recipe, long Pushed)? Recipe(DbConnection connection, long repository, Tag tag)
    {
        var own = tag.Value + RecipeAnnotations.RecipeTagSuffix;
        var pushed = connection.Scalar<long?>(
            """
            SELECT m.created FROM tags t JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest
            WHERE t.repository = @repository AND t.name = @tag AND m.artifact_type = @type
            """,
            ("repository", repository),
            ("tag", own),
            ("type", BuildMediaTypes.Recipe)
        );
        if (pushed is not null)
        {
            return (new RecipeSource { Tag = own }, pushed.Value);
        }

        return connection
            .Query(
                $"""
                SELECT digest, created, annotations FROM manifests
                WHERE repository = @repository AND artifact_type = @type AND annotations LIKE @annotation
                ORDER BY created DESC LIMIT {MaxRecipes}
                """,
                row => (Digest: row.GetString(0), Created: row.GetInt64(1), Annotations: row.GetString(2)),
                ("repository", repository),
                ("type", BuildMediaTypes.Recipe),
                ("annotation", $"%{RecipeAnnotations.Tags}%")
            )
            .Where(m => Declares(m.Annotations, tag))
            .Select(m => ((RecipeSource, long)?)(new RecipeSource { Digest = Digest.Parse(m.Digest) }, m.Created))
            .FirstOrDefault();
    }

    private static bool Declares(string annotations, Tag tag) =>
        JsonSerializer
            .Deserialize(annotations, OciJson.Default.IReadOnlyDictionaryStringString)!
            .TryGetValue(RecipeAnnotations.Tags, out var list)
        && list.Split(',', StringSplitOptions.TrimEntries).Contains(tag.Value, StringComparer.Ordinal);

    private static IReadOnlyList<string> Tags(string json) =>
        JsonSerializer.Deserialize(json, BuildJson.Default.IReadOnlyListString)!;
}
