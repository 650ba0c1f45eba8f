using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;

namespace Kiln.Server.Builds.Queue;

/// <summary>For whom tasks are placed, and what may be the answer to them.</summary>
/// <param name="Shareable">False where no other job may share an execution or its result.</param>
/// <param name="Refresh">Whether no result is the answer by its key alone.</param>
/// <param name="QueuedOnly">Whether only an execution that still waits may be joined.</param>
/// <param name="MayWaitWithOthers"><see cref="JobPlan.MayWaitWithOthers"/></param>
/// <param name="MaxAgeSeconds">Since a result was made, up to which it is the answer; null for any.</param>
internal sealed record Wanted(
    long Repository,
    string CreatedBy,
    bool Shareable,
    bool Refresh,
    bool QueuedOnly,
    int? MaxAgeSeconds,
    int QueueSeconds,
    bool MayWaitWithOthers
)
{
    public static Wanted Of(JobPlan plan, long repository) =>
        new(
            repository,
            plan.CreatedBy,
            plan.Shareable,
            plan.Refresh,
            // What runs may have looked its bases up before one of them moved.
            plan.Trigger == JobTriggers.Base,
            plan.MaxAgeSeconds,
            plan.QueueSeconds,
            plan.MayWaitWithOthers
        );
}

/// <summary>Which execution does a task.</summary>
/// <param name="Cached">Null for an execution of this job's own, false for one under way, true for one that is done.</param>
internal sealed record PlacedTask(string Execution, bool? Cached);

/// <summary>
/// Where tasks are done: each joins an identical execution under way, is answered by an identical one that is done, or
/// becomes an execution in the queue (build-extension, section 7). Failed ones are never an answer.
/// </summary>
internal sealed class Placement(TimeProvider time)
{
    /// <summary>The execution that a task may join or be answered by; null where there is none.</summary>
    public PlacedTask? Find(DbConnection connection, Wanted wanted, PlannedTask task)
    {
        if (!wanted.Shareable)
        {
            return null;
        }

        if (Running(connection, wanted, task) is { } running)
        {
            return new PlacedTask(running, Cached: false);
        }

        if (wanted.Refresh)
        {
            return null;
        }

        var done = connection.Scalar<string>(
            """
            SELECT e.id FROM executions e
            WHERE e.repository = @repository AND e.key = @key AND e.finished >= @since AND e.state = 'succeeded'
                AND e.shareable = 1 AND (e.private_to IS NULL OR e.private_to = @by)
                AND EXISTS (
                    SELECT 1 FROM manifests m WHERE m.repository = e.repository AND m.digest = e.manifest_digest
                )
            ORDER BY e.finished DESC LIMIT 1
            """,
            ("repository", wanted.Repository),
            ("key", task.Key),
            ("by", wanted.CreatedBy),
            ("since", wanted.MaxAgeSeconds is { } age ? time.Milliseconds() - (age * 1000L) : 0)
        );
        return done is null ? null : new PlacedTask(done, Cached: true);
    }

    /// <summary>Writes a job's task, and an execution for it where none was found.</summary>
    /// <param name="ordinal">Of the task in its job, from 1.</param>
    /// <param name="source">Of the task of whose product it makes something; null for none.</param>
    public void Place(
        DbTransaction transaction,
        string job,
        int ordinal,
        Wanted wanted,
        PlannedTask task,
        PlacedTask? found,
        int? source = null
    )
    {
        var placed = found ?? new PlacedTask(Queue(transaction, wanted, task), null);
        transaction.Run(
            """
            INSERT INTO job_tasks (job, ordinal, platform, microarchitecture, format, execution, shared, cached, source)
            VALUES (@job, @ordinal, @platform, @micro, @format, @execution, @shared, @cached, @source)
            """,
            ("job", job),
            ("ordinal", ordinal),
            ("platform", task.Task.Platform.ToString()),
            ("micro", task.Microarchitecture),
            ("format", task.Task.Format),
            ("execution", placed.Execution),
            ("shared", placed.Cached is null ? 0 : 1),
            ("cached", placed.Cached is true ? 1 : 0),
            ("source", source)
        );
        if (placed.Cached is false)
        {
            WaitAsLong(transaction, placed.Execution, wanted);
        }

        var word = placed.Cached switch
        {
            null => "new",
            false => "joined",
            _ => "reused",
        };
        QueuedWork
            .Current(transaction)
            .AfterCommit.Add(() => Meters.Tasks.Add(1, new KeyValuePair<string, object?>("answer", word)));
    }

    // Who joins may wait longer than who came first.
    private void WaitAsLong(DbTransaction transaction, string execution, Wanted wanted) =>
        transaction.Run(
            """
            UPDATE executions SET queue_deadline = CASE WHEN queue_deadline < @now + @wait THEN @now + @wait ELSE queue_deadline END,
                queue_wait = CASE WHEN queue_wait < @wait THEN @wait ELSE queue_wait END
            WHERE id = @id AND (queue_deadline < @now + @wait OR queue_wait < @wait)
            """,
            ("id", execution),
            ("now", time.Milliseconds()),
            ("wait", wanted.QueueSeconds * 1000L)
        );

    // One of the same key, with no less than this one asks for: with less it may fail where this one would not.
    private string? Running(DbConnection connection, Wanted wanted, PlannedTask task) =>
        connection.Scalar<string>(
            """
            SELECT id FROM executions
            WHERE repository = @repository AND key = @key AND finished IS NULL AND shareable = 1 AND cancel = 0
                AND (private_to IS NULL OR private_to = @by) AND (state = 'queued' OR @waits = 0)
                AND (state <> 'queued' OR (queue_deadline > @now AND (requested_by = @by OR @others = 1)))
                AND (cpus = @cpus OR (@cpus > 0 AND cpus > @cpus))
                AND (memory_bytes = @memory OR (@memory > 0 AND memory_bytes > @memory))
                AND (disk_bytes = @disk OR (@disk > 0 AND disk_bytes > @disk))
                AND (gpus = @gpus OR (@gpus > 0 AND gpus > @gpus))
            ORDER BY id LIMIT 1
            """,
            [
                ("repository", wanted.Repository),
                ("key", task.Key),
                ("by", wanted.CreatedBy),
                ("waits", wanted.QueuedOnly ? 1L : 0L),
                ("now", time.Milliseconds()),
                ("others", wanted.MayWaitWithOthers ? 1L : 0L),
                .. Needs(task.Task.Resources),
            ]
        );

    private string Queue(DbTransaction transaction, Wanted wanted, PlannedTask task)
    {
        var id = Ids.New(time);
        var now = time.Milliseconds();
        var isImage = task.Task.RecipeType == RecipeTypes.Image;
        transaction.Run(
            """
            INSERT INTO executions (id, repository, key, shareable, requested_by, platform, recipe_type, format, network,
                task, state, queued, queue_deadline, queue_wait, backend, microarchitecture, emulation, cpus, memory_bytes, disk_bytes, gpus)
            VALUES (@id, @repository, @key, @shareable, @by, @platform, @type, @format, @network, @task, 'queued', @now,
                @deadline, @wait, @backend, @micro, @emulation, @cpus, @memory, @disk, @gpus)
            """,
            [
                ("id", id),
                ("repository", wanted.Repository),
                ("key", task.Key),
                ("shareable", wanted.Shareable ? 1 : 0),
                ("by", wanted.CreatedBy),
                ("platform", task.Task.Platform.ToString()),
                ("type", task.Task.RecipeType),
                ("format", task.Task.Format),
                // Nothing of a finished image is run: any machine will do, with any network.
                ("network", isImage ? "" : task.Task.Network),
                ("emulation", task.Task.Emulation == EmulationModes.Denied ? 0 : 1),
                ("micro", isImage ? "" : BuildTargets.Finer(task.Task.Platform, task.Microarchitecture) ?? ""),
                (
                    "task",
                    JsonSerializer.Serialize(
                        wanted is { Refresh: true, Shareable: true }
                            ? task.Task with
                            {
                                Earlier = EarlierResults.Of(
                                    transaction.Connection!,
                                    wanted.Repository,
                                    task.Key,
                                    wanted.CreatedBy
                                ),
                            }
                            : task.Task,
                        BuildJson.Default.LeaseTask
                    )
                ),
                ("now", now),
                ("deadline", now + (wanted.QueueSeconds * 1000L)),
                ("wait", wanted.QueueSeconds * 1000L),
                ("backend", Fitting.BackendOf(task.Task.Backend)),
                .. Needs(task.Task.Resources),
            ]
        );
        return id;
    }

    private static (string, object?)[] Needs(BuildResources? resources) =>
        [
            ("cpus", (long)(resources?.Cpus ?? 0)),
            ("memory", resources?.MemoryBytes ?? 0),
            ("disk", resources?.DiskBytes ?? 0),
            ("gpus", (long)(resources?.Gpus ?? 0)),
        ];
}
