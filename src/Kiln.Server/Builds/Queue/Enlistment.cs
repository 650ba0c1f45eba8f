using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Hooks;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Secrets;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// Makes a plan a job: each of its targets joins an identical execution under way, is answered by an identical one that
/// is done, or becomes an execution in the queue (build-extension, "Caching and dedupe"). Failed builds are never an
/// answer.
/// </summary>
internal sealed class Enlistment(
    Repositories repositories,
    ImmutableTags immutable,
    SecretVault secrets,
    Settlement settlement,
    JobEvents events,
    Wakeups wakeups,
    BuildOptions options,
    TimeProvider time
)
{
    /// <summary>So many times as many jobs may wait where the last ones only join builds under way.</summary>
    private const int JoiningFactor = 10;

    /// <summary>Writes the job and what it needs; where it is answered from results, its tags are moved at once.</summary>
    /// <returns>The job's id, or in the second place why it is refused; nothing was written then.</returns>
    public (string? Job, OciError? Fault) Enlist(DbTransaction transaction, JobPlan plan)
    {
        var connection = transaction.Connection!;
        var repository = repositories.Ensure(transaction, plan.Repository);
        var now = time.Milliseconds();
        var answers = plan.Tasks.Select(task => Find(connection, repository, plan, task, now)).ToList();
        var seen = plan.Seen ?? JobTags.Pointing(connection, repository, plan.Tags);
        if (Refusal(transaction, repository, plan, answers, seen) is { } refusal)
        {
            return (null, refusal);
        }

        var job = Ids.New(time);
        if (secrets.Check(connection, repository, plan) is { } missing)
        {
            return (null, missing);
        }

        InsertJob(transaction, job, repository, plan, seen, now);
        secrets.Bind(transaction, job, plan);
        for (var i = 0; i < plan.Tasks.Count; i++)
        {
            var answer = answers[i] ?? new Answer(Queue(transaction, repository, plan, plan.Tasks[i], now), null);
            InsertTask(transaction, job, i + 1, plan.Tasks[i], answer);
            if (answer.Cached is false)
            {
                WaitAsLong(transaction, answer.Execution, plan, now);
            }

            Count(transaction, answer);
        }

        if (!settlement.Settle(transaction, job))
        {
            // It was told otherwise of the state that the job is in.
            events.Tell(transaction, job);
        }

        wakeups.AfterCommit(transaction, Wakeups.Queue);
        return (job, null);
    }

    private OciError? Refusal(
        DbTransaction transaction,
        long repository,
        JobPlan plan,
        List<Answer?> answers,
        IReadOnlyDictionary<string, string> seen
    )
    {
        var connection = transaction.Connection!;
        if (Limit(answers) is { } limit && Active(connection, repository) >= limit)
        {
            return new OciError(
                ErrorCodes.TooManyRequests,
                $"{plan.Repository} has {limit} jobs waiting or running, which is the limit; "
                    + "try again when some are done"
            );
        }

        if (
            plan.Trigger is JobTriggers.Push or JobTriggers.Pull
            && Triggered(connection, repository) is var triggered
            && triggered >= options.MaxTriggersPerMinute
        )
        {
            return new OciError(
                ErrorCodes.TooManyRequests,
                $"pushes and pulls have started {triggered} builds in {plan.Repository} within a minute, "
                    + $"and {options.MaxTriggersPerMinute} is the limit; ask for this one later"
            );
        }

        if (plan.TagPolicy == TagPolicies.CreateOnly && seen.Count > 0)
        {
            return new OciError(
                BuildErrors.StateInvalid,
                $"the tag {seen.Keys.First()} is there already, and the request asks to create it only"
            );
        }

        // What is answered at once may prove to be what the tags point at already.
        return answers.TrueForAll(answer => answer?.Cached is true)
            ? null
            : immutable.Refusal(transaction, repository, plan.Repository, plan.Tags, digest: null);
    }

    // Ids sort by time.
    private long Triggered(DbConnection connection, long repository) =>
        connection.Scalar<long>(
            "SELECT COUNT(*) FROM jobs WHERE repository = @repository AND id > @since AND trigger IN ('push', 'pull')",
            ("repository", repository),
            ("since", Ids.Since(time.GetUtcNow().AddMinutes(-1)))
        );

    // A job that only joins builds costs little, but each of them is told of all that happens; one that is answered at
    // once waits for nothing.
    private int? Limit(List<Answer?> answers) =>
        answers.Contains(null) ? options.MaxActiveJobs
        : answers.TrueForAll(a => a!.Cached is true) ? null
        : options.MaxActiveJobs * JoiningFactor;

    private static long Active(DbConnection connection, long repository) =>
        connection.Scalar<long>(
            "SELECT COUNT(*) FROM jobs WHERE repository = @repository AND finished IS NULL",
            ("repository", repository)
        );

    private static void Count(DbTransaction transaction, Answer answer)
    {
        var word = answer.Cached switch
        {
            null => "new",
            false => "joined",
            _ => "reused",
        };
        QueuedWork
            .Current(transaction)
            .AfterCommit.Add(() => Meters.Tasks.Add(1, new KeyValuePair<string, object?>("answer", word)));
    }

    private static Answer? Find(DbConnection connection, long repository, JobPlan plan, PlannedTask task, long now)
    {
        if (!plan.Shareable)
        {
            return null;
        }

        var running = Running(connection, repository, plan, task, now);
        if (running is not null)
        {
            return new Answer(running, Cached: false);
        }

        if (plan.Refresh)
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
            ("repository", repository),
            ("key", task.Key),
            ("by", plan.CreatedBy),
            ("since", now - (plan.MaxAgeSeconds * 1000L))
        );
        return done is null ? null : new Answer(done, Cached: true);
    }

    // One of the same key, with no less than this one asks for: with less it may fail where this one would not. What runs
    // may have looked its bases up before one of them moved.
    private static string? Running(
        DbConnection connection,
        long repository,
        JobPlan plan,
        PlannedTask task,
        long now
    ) =>
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
                ("repository", repository),
                ("key", task.Key),
                ("by", plan.CreatedBy),
                ("waits", plan.Trigger == JobTriggers.Base ? 1L : 0L),
                ("now", now),
                ("others", plan.MayWaitWithOthers ? 1L : 0L),
                .. Needs(task.Task.Resources),
            ]
        );

    private static void InsertJob(
        DbTransaction transaction,
        string job,
        long repository,
        JobPlan plan,
        IReadOnlyDictionary<string, string> seen,
        long now
    ) =>
        transaction.Run(
            """
            INSERT INTO jobs (id, repository, created_by, trigger, recipe_digest, recipe_type, tags, state, revision, created,
                tag_policy, tags_seen, partial)
            VALUES (@id, @repository, @by, @trigger, @recipe, @type, @tags, 'queued', 1, @now, @policy, @seen, @partial)
            """,
            ("id", job),
            ("repository", repository),
            ("by", plan.CreatedBy),
            ("trigger", plan.Trigger),
            ("recipe", plan.RecipeDigest.ToString()),
            ("policy", plan.TagPolicy),
            (
                "seen",
                plan.TagPolicy is null && plan.Seen is null
                    ? null
                    : JsonSerializer.Serialize(seen, OciJson.Default.IReadOnlyDictionaryStringString)
            ),
            ("partial", plan.Partial ? 1 : 0),
            ("type", plan.RecipeType),
            (
                "tags",
                JsonSerializer.Serialize([.. plan.Tags.Select(t => t.Value)], BuildJson.Default.IReadOnlyListString)
            ),
            ("now", now)
        );

    private static void InsertTask(
        DbTransaction transaction,
        string job,
        int ordinal,
        PlannedTask task,
        Answer answer
    ) =>
        transaction.Run(
            """
            INSERT INTO job_tasks (job, ordinal, platform, microarchitecture, format, execution, shared, cached)
            VALUES (@job, @ordinal, @platform, @micro, @format, @execution, @shared, @cached)
            """,
            ("job", job),
            ("ordinal", ordinal),
            ("platform", task.Task.Platform.ToString()),
            ("micro", task.Microarchitecture),
            ("format", task.Task.Format),
            ("execution", answer.Execution),
            ("shared", answer.Cached is null ? 0 : 1),
            ("cached", answer.Cached is true ? 1 : 0)
        );

    // Who joins may wait longer than who came first.
    private static void WaitAsLong(DbTransaction transaction, string execution, JobPlan plan, long now) =>
        transaction.Run(
            """
            UPDATE executions SET queue_deadline = CASE WHEN queue_deadline < @now + @wait THEN @now + @wait ELSE queue_deadline END,
                queue_wait = CASE WHEN queue_wait < @wait THEN @wait ELSE queue_wait END
            WHERE id = @id AND (queue_deadline < @now + @wait OR queue_wait < @wait)
            """,
            ("id", execution),
            ("now", now),
            ("wait", plan.QueueSeconds * 1000L)
        );

    private string Queue(DbTransaction transaction, long repository, JobPlan plan, PlannedTask task, long now)
    {
        var id = Ids.New(time);
        transaction.Run(
            """
            INSERT INTO executions (id, repository, key, shareable, requested_by, platform, recipe_type, format, network,
                task, state, queued, queue_deadline, queue_wait, backend, microarchitecture, emulation, cpus, memory_bytes, disk_bytes, gpus)
            VALUES (@id, @repository, @key, @shareable, @by, @platform, @type, @format, @network, @task, 'queued', @now,
                @deadline, @wait, @backend, @micro, @emulation, @cpus, @memory, @disk, @gpus)
            """,
            [
                ("id", id),
                ("repository", repository),
                ("key", task.Key),
                ("shareable", plan.Shareable ? 1 : 0),
                ("by", plan.CreatedBy),
                ("platform", task.Task.Platform.ToString()),
                ("type", plan.RecipeType),
                ("format", task.Task.Format),
                ("network", task.Task.Network),
                ("emulation", task.Task.Emulation == EmulationModes.Denied ? 0 : 1),
                ("micro", BuildTargets.Finer(task.Task.Platform, task.Microarchitecture) ?? ""),
                (
                    "task",
                    JsonSerializer.Serialize(
                        plan is { Refresh: true, Shareable: true }
                            ? task.Task with
                            {
                                Earlier = EarlierResults.Of(
                                    transaction.Connection!,
                                    repository,
                                    task.Key,
                                    plan.CreatedBy
                                ),
                            }
                            : task.Task,
                        BuildJson.Default.LeaseTask
                    )
                ),
                ("now", now),
                ("deadline", now + (plan.QueueSeconds * 1000L)),
                ("wait", plan.QueueSeconds * 1000L),
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

    // Cached: null for an execution of this job's own, false for one under way, true for one that is done.
    private sealed record Answer(string Execution, bool? Cached);
}
