using System.Data.Common;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Progress;

/// <summary>Jobs as clients see them.</summary>
internal sealed class JobReader(Database database)
{
    /// <summary>A job of a repository; null where there is none.</summary>
    public Job? Get(RepositoryName repository, string id) =>
        database.Read(c =>
        {
            var row = JobRow.Find(c, id);
            return row is null || row.Repository != repository ? null : View(c, row);
        });

    /// <summary>A page of a repository's jobs, newest first.</summary>
    /// <param name="last">The id after which the page begins; null for the newest.</param>
    public Page<Job> List(
        RepositoryName repository,
        string? last,
        int limit,
        string? state,
        string? tag,
        string? recipe = null
    ) =>
        database.Read(c =>
            Page<Job>.Of(
                limit,
                c.Query(
                        $"""
                        SELECT {JobRow.Columns} FROM jobs j JOIN repositories r ON r.id = j.repository
                        WHERE r.name = @name AND (@last = '' OR j.id < @last) AND (@state = '' OR j.state = @state)
                            AND (@recipe = '' OR j.recipe_digest = @recipe)
                            AND (@tag = '' OR j.tags LIKE @pattern ESCAPE '!')
                        ORDER BY j.id DESC LIMIT @limit
                        """,
                        JobRow.Map,
                        ("name", repository.Value),
                        ("last", last ?? ""),
                        ("state", state ?? ""),
                        ("tag", tag ?? ""),
                        ("recipe", recipe ?? ""),
                        // Tags have no quotes and are kept as a JSON array; of LIKE's own letters they may have '_'.
                        ("pattern", $"%\"{tag?.Replace("_", "!_", StringComparison.Ordinal)}\"%"),
                        ("limit", limit + 1L)
                    )
                    .ConvertAll(row => View(c, row))
            )
        );

    private static Job View(DbConnection connection, JobRow row)
    {
        var href = Ids.JobPath(row.Repository, row.Id);
        return new Job
        {
            Id = row.Id,
            Repository = row.Repository.Value,
            Href = href,
            State = row.State,
            Done = row.Finished is not null,
            Reason = row.Reason,
            Message = row.Message,
            Revision = row.Revision,
            Created = When(row.Created),
            Started = row.Started is { } started ? When(started) : null,
            Finished = row.Finished is { } finished ? When(finished) : null,
            CreatedBy = row.CreatedBy,
            Trigger = row.Trigger,
            Cached = row.Cached,
            Recipe = new JobRecipe { Digest = row.RecipeDigest, Type = row.RecipeType },
            Tags = Json(row.Tags, BuildJson.Default.IReadOnlyListString)!,
            Outputs = row.DerivationPlan?.Outputs,
            Flatten = row.DerivationPlan?.Flatten is true ? true : null,
            Tasks = TaskRow.Of(connection, row.Id).ConvertAll(task => View(connection, task, href)),
            Result = Json(row.Result, BuildJson.Default.JobResult),
            Links = new JobLinks { Logs = href + "/logs", Cancel = href },
        };
    }

    private static JobTask View(DbConnection connection, TaskRow task, string href)
    {
        var execution = task.Execution;
        return new JobTask
        {
            Id = task.Id,
            Platform = execution.Platform,
            Microarchitecture = task.Microarchitecture,
            Format = execution.Format,
            Source = task.Source is { } source ? $"t{source}" : null,
            Flattening = Json(execution.Flattening, BuildJson.Default.FlattenReport),
            State = execution.State,
            Phase = execution.Phase,
            Progress = execution.Progress,
            Attempt = execution.Attempt,
            Node = execution.Node,
            Emulated = execution.Emulated ? true : null,
            Key = execution.Key,
            Execution = execution.Id,
            Shared = task.Shared,
            Cached = task.Cached,
            Logs = $"{href}/logs?task={task.Id}",
            ExitCode = execution.ExitCode,
            QueuePosition = execution.State == BuildStates.Queued ? Position(connection, execution) : null,
            Confinement = Json(execution.Confinement, BuildJson.Default.BuildConfinement),
            Hints = Json(execution.Hints, BuildJson.Default.ImageHints),
            Steps = Json(execution.Steps, BuildJson.Default.IReadOnlyListBuildStep),
            ResolvedDependencies = Json(execution.Dependencies, BuildJson.Default.IReadOnlyListResolvedDependency),
        };
    }

    private static int Position(DbConnection connection, ExecutionRow execution) =>
        (int)
            connection.Scalar<long>(
                "SELECT COUNT(*) FROM executions WHERE state = 'queued' AND queued < @queued AND finished IS NULL",
                ("queued", execution.Queued)
            );

    private static T? Json<T>(string? text, JsonTypeInfo<T> type)
        where T : class => text is null ? null : JsonSerializer.Deserialize(text, type);

    private static DateTimeOffset When(long milliseconds) => DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);
}
