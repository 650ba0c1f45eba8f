using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>A row of <c>jobs</c>. Times in Unix milliseconds; what is JSON in the table is text here.</summary>
internal sealed record JobRow
{
    /// <summary>The columns, of <c>jobs j JOIN repositories r</c>, in the order in which <see cref="Map"/> reads them.</summary>
    public const string Columns =
        "j.id, j.repository, r.name, j.created_by, j.trigger, j.recipe_digest, j.recipe_type, j.tags, j.state, "
        + "j.reason, j.message, j.revision, j.cached, j.result, j.created, j.started, j.finished, j.tag_policy, j.tags_seen, "
        + "j.partial, j.base_chain, j.derivations";

    public required string Id { get; init; }
    public required long RepositoryId { get; init; }
    public required RepositoryName Repository { get; init; }
    public required string CreatedBy { get; init; }
    public required string Trigger { get; init; }
    public required Digest RecipeDigest { get; init; }
    public required string RecipeType { get; init; }
    public required string Tags { get; init; }
    public required string State { get; init; }
    public string? Reason { get; init; }
    public string? Message { get; init; }
    public required int Revision { get; init; }
    public required bool Cached { get; init; }
    public string? Result { get; init; }
    public required long Created { get; init; }
    public long? Started { get; init; }
    public long? Finished { get; init; }
    public string? TagPolicy { get; init; }

    /// <summary>JSON: where the tags pointed when the job was accepted; those that were not there are left out.</summary>
    public string? TagsSeen { get; init; }
    public bool Partial { get; init; }

    /// <summary>JSON: the tags whose moves led to it, the first one first; null where no base started it.</summary>
    public string? BaseChain { get; init; }

    /// <summary>JSON of <see cref="DerivationPlan"/>; null where nothing is made of the images.</summary>
    public string? Derivations { get; init; }

    /// <summary>What is made of the job's images; null where nothing is.</summary>
    public DerivationPlan? DerivationPlan =>
        Derivations is null ? null : JsonSerializer.Deserialize(Derivations, BuildJson.Default.DerivationPlan);

    public static JobRow? Find(DbConnection connection, string id) =>
        connection
            .Query(
                $"SELECT {Columns} FROM jobs j JOIN repositories r ON r.id = j.repository WHERE j.id = @id",
                Map,
                ("id", id)
            )
            .FirstOrDefault();

    public static JobRow Map(DbDataReader row) =>
        new()
        {
            Id = row.GetString(0),
            RepositoryId = row.GetInt64(1),
            Repository = RepositoryName.Parse(row.GetString(2)),
            CreatedBy = row.GetString(3),
            Trigger = row.GetString(4),
            RecipeDigest = Digest.Parse(row.GetString(5)),
            RecipeType = row.GetString(6),
            Tags = row.GetString(7),
            State = row.GetString(8),
            Reason = row.TextOrNull(9),
            Message = row.TextOrNull(10),
            Revision = row.GetInt32(11),
            Cached = row.GetInt64(12) != 0,
            Result = row.TextOrNull(13),
            Created = row.GetInt64(14),
            Started = row.LongOrNull(15),
            Finished = row.LongOrNull(16),
            TagPolicy = row.TextOrNull(17),
            TagsSeen = row.TextOrNull(18),
            Partial = row.GetInt64(19) != 0,
            BaseChain = row.TextOrNull(20),
            Derivations = row.TextOrNull(21),
        };
}

/// <summary>A row of <c>job_tasks</c> with its execution.</summary>
/// <param name="Ordinal">From 1; the task's id is <c>t</c> and this.</param>
/// <param name="Left">The job no longer waits for it.</param>
/// <param name="Source">The ordinal of the task of whose product it makes something; null where it builds the recipe.</param>
internal sealed record TaskRow(
    int Ordinal,
    string? Microarchitecture,
    bool Shared,
    bool Cached,
    bool Left,
    int? Source,
    ExecutionRow Execution
)
{
    public string Id => "t" + Ordinal;

    /// <summary>The tasks of a job in its own order.</summary>
    public static List<TaskRow> Of(DbConnection connection, string job) =>
        connection
            .Query(
                """
                SELECT ordinal, microarchitecture, shared, cached, departed, execution, source FROM job_tasks
                WHERE job = @job ORDER BY ordinal
                """,
                row =>
                    (
                        Ordinal: row.GetInt32(0),
                        Micro: row.TextOrNull(1),
                        Shared: row.GetInt64(2) != 0,
                        Cached: row.GetInt64(3) != 0,
                        Left: row.GetInt64(4) != 0,
                        Execution: row.GetString(5),
                        Source: (int?)row.LongOrNull(6)
                    ),
                ("job", job)
            )
            .ConvertAll(t => new TaskRow(
                t.Ordinal,
                t.Micro,
                t.Shared,
                t.Cached,
                t.Left,
                t.Source,
                Executions.Find(connection, t.Execution)!
            ));
}
