using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Builds.Rebuilds;

/// <summary>Whether the images of the repository of a name are built anew when a base moves.</summary>
internal delegate bool RebuildPolicy(string repository);

/// <summary>Whether somebody, by the name that stands in a job, may have builds in a repository now.</summary>
internal delegate bool RequesterMayBuild(string principal, RepositoryName repository);

/// <summary>How far a moved base was followed; of several products the greatest counts.</summary>
internal enum Following
{
    /// <summary>Nothing is left to do.</summary>
    Settled,

    /// <summary>Something could not be built now: a store or node in trouble.</summary>
    Failed,

    /// <summary>Something has to wait for others to be built.</summary>
    Waits,
}

/// <summary>
/// Starts what a moved base calls for: the same job once more, for the same requester, once for each place to which the
/// base's tag moves (build-extension, section 17).
/// </summary>
internal sealed partial class Rebuilder(
    JobIntake intake,
    Enlistment enlistment,
    RebuildPolicy policy,
    RequesterMayBuild mayBuild,
    RequesterMayPull mayPull,
    Database database,
    BuildOptions options,
    TimeProvider time,
    ILogger<Rebuilder> log
)
{
    // A chain of bases that each stand on the next; nobody stacks more by hand.
    private const int MaxChain = 16;

    /// <summary>Starts all that is due for a move.</summary>
    public async Task<Following> FollowAsync(MovedBase moved, CancellationToken cancel)
    {
        var outcome = Following.Settled;
        foreach (var product in database.Read(moved.Stale).Where(p => policy(p.Repository.Value)))
        {
            var one = Following.Failed;
            try
            {
                one = await RebuildAsync(moved, product, cancel);
            }
            catch (Exception e) when (!cancel.IsCancellationRequested)
            {
                // One that cannot be read keeps no other from being built.
                LogFault(log, product.Repository, moved.Name, e);
            }

            outcome = one > outcome ? one : outcome;
        }

        return outcome;
    }

    private async Task<Following> RebuildAsync(MovedBase moved, StaleProduct product, CancellationToken cancel)
    {
        if (!database.Read(c => HasRoom(c, product.Repository)))
        {
            // First of all: planning reads recipe and contexts, and is not for what has to wait.
            return Following.Waits;
        }

        var (job, tasks, tags, chain) = database.Read(c =>
            JobRow.Find(c, product.Job) is { } row
                ? (row, TaskRow.Of(c, row.Id), product.TagsOf(c, row), moved.Chain(c))
                : (null, [], [], (IReadOnlyList<string>)[])
        );
        if (job is null || tags.Count == 0)
        {
            // Its tags were moved by others.
            await MarkAsync(moved, product, cancel);
            return Following.Settled;
        }

        if (WhyNot(moved, job, tasks, chain, tags) is { } why)
        {
            LogRefused(log, product.Repository, string.Join(',', tags), moved.Name, why);
            await MarkAsync(moved, product, cancel);
            return Following.Settled;
        }

        try
        {
            var plan = await intake.PlanAgainAsync(job.Repository, Again(job, tasks, tags), job.CreatedBy, cancel);
            var started = await database.WriteAsync(t => Enlist(t, moved, product, plan, chain), cancel);
            return started ? Following.Settled : Following.Waits;
        }
        catch (OciException e) when (IsForNow(e.Error))
        {
            return Following.Failed;
        }
        catch (OciException e)
        {
            LogRefused(log, product.Repository, string.Join(',', tags), moved.Name, e.Error.Message);
            await MarkAsync(moved, product, cancel);
            return Following.Settled;
        }
    }

    private string? WhyNot(
        MovedBase moved,
        JobRow job,
        List<TaskRow> tasks,
        IReadOnlyList<string> chain,
        IReadOnlyList<string> tags
    ) =>
        chain.FirstOrDefault(c => tags.Any(tag => c == $"{job.Repository}:{tag}")) is { } own
            ? $"{own} itself led to that move"
        : chain.Count > MaxChain ? $"{MaxChain} bases have followed each other"
        : tasks.Exists(t => TaskOf(t).SecretIds.Count > 0) ? "it was built with secrets, which are not kept"
        : tasks.Exists(t => TaskOf(t).PinnedBases is { Count: > 0 }) ? "its request says which images its bases are"
        : !mayBuild(job.CreatedBy, job.Repository) ? $"{job.CreatedBy} may not build there any more"
        : !mayPull(job.CreatedBy, moved.Repository) ? $"{job.CreatedBy} may not pull the base any more"
        : null;

    // All of it in one transaction: of several servers one starts it, and after a crash it is started once.
    private bool Enlist(
        DbTransaction transaction,
        MovedBase moved,
        StaleProduct product,
        JobPlan plan,
        IReadOnlyList<string> chain
    )
    {
        var connection = transaction.Connection!;
        if (BaseMoves.Current(connection, moved.Repository, moved.Tag) is not [var now, ..] || now != moved.Digest)
        {
            // It has moved on, which is noted.
            return true;
        }

        if (!HasRoom(connection, product.Repository) || IsUnderWay(connection, plan))
        {
            return false;
        }

        if (!product.Mark(transaction, moved))
        {
            return true;
        }

        var (job, fault) = enlistment.Enlist(transaction, plan);
        if (fault is not null)
        {
            throw new OciException(fault);
        }

        transaction.Run(
            "UPDATE jobs SET base_chain = @chain WHERE id = @job",
            ("chain", JsonSerializer.Serialize(chain, BuildJson.Default.IReadOnlyListString)),
            ("job", job)
        );
        database.AfterCommit(transaction, () => LogStarted(log, job!, product.Repository, moved.Name));
        return true;
    }

    private Task MarkAsync(MovedBase moved, StaleProduct product, CancellationToken cancel) =>
        database.WriteAsync(transaction => product.Mark(transaction, moved), cancel);

    // In the repository in an hour, and in the registry at a time: what people ask for stands behind these in the queue.
    // Ids sort by time.
    private bool HasRoom(DbConnection connection, RepositoryName repository) =>
        connection.Scalar<long>(
            """
            SELECT COUNT(*) FROM jobs j JOIN repositories r ON r.id = j.repository
            WHERE r.name = @repository AND j.id > @since AND j.trigger = 'base'
            """,
            ("repository", repository.Value),
            ("since", Ids.Since(time.GetUtcNow().AddHours(-1)))
        ) < options.MaxRebuildsPerHour
        && connection.Scalar<long>("SELECT COUNT(*) FROM jobs WHERE finished IS NULL AND trigger = 'base'")
            < options.MaxRebuildsAtOnce;

    // One after the other: the one that is accepted first would move the tag from under the next.
    private static bool IsUnderWay(DbConnection connection, JobPlan plan) =>
        connection
            .Query(
                """
                SELECT j.tags FROM jobs j JOIN repositories r ON r.id = j.repository
                WHERE r.name = @repository AND j.finished IS NULL AND j.trigger = 'base'
                """,
                row => row.GetString(0),
                ("repository", plan.Repository.Value)
            )
            .Exists(tags =>
                JsonSerializer
                    .Deserialize(tags, BuildJson.Default.IReadOnlyListString)!
                    .Intersect(plan.Tags.Select(t => t.Value), StringComparer.Ordinal)
                    .Any()
            );

    // A store in trouble and a node that is away come back; how long is waited for them, BaseWatch says.
    private static bool IsForNow(OciError fault) =>
        fault.Code.Status >= 500
        || fault.Code == ErrorCodes.TooManyRequests
        || fault.Code == BuildErrors.Disabled
        || fault.Code == BuildErrors.PlatformUnsupported
        || fault.Code == BuildErrors.OutputUnsupported;

    private JobRequest Again(JobRow job, List<TaskRow> tasks, IReadOnlyList<string> tags)
    {
        var built = tasks.FindAll(t => t.Source is null);
        var task = TaskOf(built[0]);
        return new JobRequest
        {
            Recipe = new RecipeSource { Digest = job.RecipeDigest },
            Targets =
            [
                .. built.Select(t => new BuildTarget
                {
                    Platform = TaskOf(t).Platform,
                    Microarchitecture = t.Microarchitecture,
                }),
            ],
            Args = task.Args,
            Labels = task.Labels,
            Target = task.Target,
            Tags = tags,
            Network = task.Network,
            Emulation = task.Emulation,
            // Bases are looked up anew; where they prove to be those of an earlier result, that is the answer.
            Cache = new CacheOptions { Policy = task.UseStepCache ? CachePolicies.Refresh : CachePolicies.None },
            Reproducible = task.SourceDateEpoch is { } epoch
                ? new ReproducibleOptions { SourceDateEpoch = epoch }
                : null,
            Resources = task.Resources,
            Backend = task.Backend,
            TimeoutSeconds = Math.Min(task.TimeoutSeconds, options.MaxTimeoutSeconds),
            // What somebody delivers meanwhile is newer.
            TagPolicy = TagPolicies.IfUnchanged,
            Partial = job.Partial,
            Outputs = job.DerivationPlan?.Outputs ?? OutputsOf(task),
            Flatten = job.DerivationPlan?.Flatten,
        };
    }

    private static IReadOnlyList<BuildOutput>? OutputsOf(LeaseTask task) =>
        task.Compression is { } compression
            ? [new BuildOutput { Format = task.Format, Compression = compression }]
            : null;

    private static LeaseTask TaskOf(TaskRow task) =>
        JsonSerializer.Deserialize(task.Execution.Task, BuildJson.Default.LeaseTask)!;

    [LoggerMessage(
        Level = LogLevel.Information,
        Message = "job {Job} builds {Repository} anew, since {Base} has moved"
    )]
    private static partial void LogStarted(ILogger log, string job, RepositoryName repository, string @base);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "An image of {Repository} could not be built anew for {Base}; that is tried again"
    )]
    private static partial void LogFault(ILogger log, RepositoryName repository, string @base, Exception exception);

    [LoggerMessage(
        Level = LogLevel.Information,
        Message = "{Repository}:{Tags} is not built anew although {Base} has moved: {Why}"
    )]
    private static partial void LogRefused(
        ILogger log,
        RepositoryName repository,
        string tags,
        string @base,
        string why
    );
}
