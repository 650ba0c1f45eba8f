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
            || IsNewer(job, pushed)
        )
        {
            return job;
        }

        try
        {
            // Of many who pull at one time the first one starts it.
            var started = await intake.SubmitPulledAsync(
                repository,
                recipe,
                tag,
                c => Latest(c, id, tag) is { } latest && IsNewer(latest, pushed) ? latest.Id : null,
                builder,
                cancel
            );
            return started is null ? job : Look(started);
        }
        catch (OciException e) when (e.Error.Code != ErrorCodes.TooManyRequests)
        {
            // Whoever pulls did not ask for a build: what is wrong with the recipe, its push has said.
            return job;
        }
    }

    /// <summary>The job as it is now.</summary>
    public JobRow? Look(string job) => database.Read(c => JobRow.Find(c, job));

    private static bool IsNewer(JobRow? job, long pushed) => job is { Finished: null } || job?.Created >= pushed;

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

    // The artifact whose own tag stands for it, unless it says itself what its product is called; else the latest
    // whose annotation names it.
    private static (RecipeSource Recipe, long Pushed)? Recipe(DbConnection connection, long repository, Tag tag)
    {
        var own = tag.Value + RecipeAnnotations.RecipeTagSuffix;
        var named = connection
            .Query(
                """
                SELECT m.created, m.annotations FROM tags t
                JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest
                WHERE t.repository = @repository AND t.name = @tag AND m.artifact_type IN (@recipe, @config)
                """,
                row => (Created: row.GetInt64(0), Annotations: row.TextOrNull(1)),
                ("repository", repository),
                ("tag", own),
                ("recipe", BuildMediaTypes.Recipe),
                ("config", BuildMediaTypes.RecipeConfig)
            )
            .ConvertAll(m => (m.Created, Declared: Declared(m.Annotations)));
        if (named.Count > 0 && (named[0].Declared?.Contains(tag.Value, StringComparer.Ordinal) ?? true))
        {
            return (new RecipeSource { Tag = own }, named[0].Created);
        }

        return connection
            .Query(
                $"""
                SELECT digest, created, annotations FROM manifests
                WHERE repository = @repository AND artifact_type IN (@recipe, @config) AND annotations LIKE @annotation
                ORDER BY created DESC LIMIT {MaxRecipes}
                """,
                row => (Digest: row.GetString(0), Created: row.GetInt64(1), Annotations: row.GetString(2)),
                ("repository", repository),
                ("recipe", BuildMediaTypes.Recipe),
                ("config", BuildMediaTypes.RecipeConfig),
                ("annotation", $"%{RecipeAnnotations.Tags}%")
            )
            .Where(m => Declared(m.Annotations)?.Contains(tag.Value, StringComparer.Ordinal) is true)
            .Select(m => ((RecipeSource, long)?)(new RecipeSource { Digest = Digest.Parse(m.Digest) }, m.Created))
            .FirstOrDefault();
    }

    // What the annotation lists; null where there is none.
    private static string[]? Declared(string? annotations) =>
        annotations is not null
        && JsonSerializer
            .Deserialize(annotations, OciJson.Default.IReadOnlyDictionaryStringString)!
            .TryGetValue(RecipeAnnotations.Tags, out var list)
            ? list.Split(',', StringSplitOptions.TrimEntries)
            : null;
}
