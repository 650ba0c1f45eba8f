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
    Placement placement,
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
        var wanted = Wanted.Of(plan, repository);
        var answers = plan.Tasks.Select(task => placement.Find(connection, wanted, task)).ToList();
        var seen = plan.Seen ?? JobTags.Pointing(connection, repository, plan.Tags.Concat(plan.SideTags));
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
            placement.Place(transaction, job, i + 1, wanted, plan.Tasks[i], answers[i]);
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
        List<PlacedTask?> answers,
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
            : immutable.Refusal(
                transaction,
                repository,
                plan.Repository,
                [.. plan.Tags, .. plan.SideTags],
                digest: null
            );
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
    private int? Limit(List<PlacedTask?> answers) =>
        answers.Contains(null) ? options.MaxActiveJobs
        : answers.TrueForAll(a => a!.Cached is true) ? null
        : options.MaxActiveJobs * JoiningFactor;

    private static long Active(DbConnection connection, long repository) =>
        connection.Scalar<long>(
            "SELECT COUNT(*) FROM jobs WHERE repository = @repository AND finished IS NULL",
            ("repository", repository)
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
                tag_policy, tags_seen, partial, derivations)
            VALUES (@id, @repository, @by, @trigger, @recipe, @type, @tags, 'queued', 1, @now, @policy, @seen, @partial, @derivations)
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
            (
                "derivations",
                plan.Derivations is null
                    ? null
                    : JsonSerializer.Serialize(plan.Derivations, BuildJson.Default.DerivationPlan)
            ),
            ("type", plan.RecipeType),
            (
                "tags",
                JsonSerializer.Serialize([.. plan.Tags.Select(t => t.Value)], BuildJson.Default.IReadOnlyListString)
            ),
            ("now", now)
        );
}
