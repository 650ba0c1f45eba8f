using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Audit;
using Kiln.Server.Builds.Hooks;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Builds.Rebuilds;
using Kiln.Server.Builds.Secrets;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// Draws the consequence of its executions' states for a job: when all have succeeded, the index is written, the tags
/// are moved and the job is done, all in one transaction, so that no tag ever points at something half-published.
/// Settling twice changes nothing.
/// </summary>
internal sealed class Settlement(
    Manifests manifests,
    Subscriptions subscriptions,
    Derivations derivations,
    SecretVault secrets,
    JobEvents events,
    ProductBases bases,
    Wakeups wakeups,
    AuditLog audit,
    Database database,
    TimeProvider time,
    IProductsBehind? behind = null
)
{
    /// <summary>Settles every job that waits for an execution.</summary>
    public void SettleSubscribers(DbTransaction transaction, string execution)
    {
        foreach (var job in Executions.Subscribers(transaction.Connection!, execution, all: false))
        {
            Settle(transaction, job);
        }
    }

    /// <summary>Brings a job's state up to date.</summary>
    /// <returns>Whether it has changed.</returns>
    public bool Settle(DbTransaction transaction, string job)
    {
        var row = JobRow.Find(transaction.Connection!, job);
        if (row is null || row.Finished is not null)
        {
            return false;
        }

        var tasks = TaskRow.Of(transaction.Connection!, job).FindAll(t => !t.Left);
        tasks = derivations.Extend(transaction, row, tasks);
        var state = ExecutionStates.OfJob(
            row.State == BuildStates.Canceling,
            row.Partial ? TargetStates.Of(tasks) : tasks.ConvertAll(t => t.Execution.State),
            row.Partial
        );
        var landing =
            state == BuildStates.Succeeded && behind is not null ? behind.Land(transaction, row) : LandingState.Landed;
        if (landing is { IsThere: false, Reason: null })
        {
            // Built, and not done before it is where it belongs.
            state = BuildStates.Running;
        }

        if (state == row.State)
        {
            return false;
        }

        var ending = state switch
        {
            BuildStates.Succeeded when landing.Reason is not null => new Ending(
                BuildStates.Failed,
                landing.Reason,
                landing.Message
            ),
            BuildStates.Succeeded => Publish(transaction, row, tasks),
            BuildStates.Failed => Fail(tasks),
            _ => new Ending(state),
        };
        if (ending.State == BuildStates.Failed)
        {
            // What the other targets would deliver, nobody would get.
            subscriptions.Leave(transaction, job);
        }

        Write(transaction, row, ending, tasks.TrueForAll(t => t.Cached));
        return true;
    }

    private Ending Publish(DbTransaction transaction, JobRow job, List<TaskRow> tasks)
    {
        var product = JobProduct.Of(job, tasks);
        var side = product.Outputs.SelectMany(o => o.Tags ?? []).ToList();
        var tags = JsonSerializer.Deserialize(job.Tags, BuildJson.Default.IReadOnlyListString)!;
        // Behind, the tags were held against their policy when they were moved; here are none.
        if (behind is null && JobTags.Forbidden(transaction.Connection!, job, [.. tags, .. side]) is { } forbidden)
        {
            return new Ending(BuildStates.Failed, FailureReasons.PolicyDenied, forbidden);
        }

        try
        {
            return database.Attempt(transaction, () => Deliver(transaction, job, tasks, product, tags));
        }
        catch (OciException e)
        {
            // A tag has become immutable or a quota full; else a product that was there when the job joined it has been
            // deleted since. Not even the tags that could be moved have been.
            var refused = e.Error.Code == ErrorCodes.TagImmutable || e.Error.Code == ErrorCodes.QuotaExceeded;
            var reason = refused ? FailureReasons.PolicyDenied : FailureReasons.SystemError;
            return new Ending(BuildStates.Failed, reason, e.Message);
        }
    }

    private Ending Deliver(
        DbTransaction transaction,
        JobRow job,
        List<TaskRow> tasks,
        JobProduct product,
        IReadOnlyList<string> tags
    )
    {
        var stored = manifests.Put(
            transaction,
            new ManifestPush
            {
                Repository = job.Repository,
                Content = product.Index,
                ContentType = MediaTypes.OciIndex,
                Tags = behind is null ? [.. tags.Select(Tag.Parse)] : [],
                Principal = job.CreatedBy,
            }
        );
        if (behind is null)
        {
            bases.Follow(transaction, job, tasks.Where(t => t.Source is null), tags);
        }

        database.AfterCommit(transaction, () => Record(job, stored.Digest, tags));
        if (behind is null)
        {
            product.Outputs.ToList().ForEach(output => TagAside(transaction, job, output));
        }

        var result = new JobResult
        {
            Manifest = new Descriptor
            {
                MediaType = MediaTypes.OciIndex,
                Digest = stored.Digest,
                Size = product.Index.Length,
            },
            Tags = tags,
            Outputs = product.Outputs,
        };
        return new Ending(BuildStates.Succeeded)
        {
            Result = JsonSerializer.Serialize(result, BuildJson.Default.JobResult),
        };
    }

    // What was made of an image is found by tags of its own, which are moved with the job's.
    private void TagAside(DbTransaction transaction, JobRow job, JobResultOutput output)
    {
        if (output.Tags is not { } tags)
        {
            return;
        }

        manifests.Put(
            transaction,
            new ManifestPush
            {
                Repository = job.Repository,
                Content =
                    ManifestRows.Content(transaction.Connection!, job.RepositoryId, output.Manifest.Digest)
                    ?? throw new OciException(
                        ErrorCodes.ManifestUnknown,
                        $"the {output.Format} {output.Manifest.Digest} has been deleted meanwhile"
                    ),
                ContentType = output.Manifest.MediaType,
                Digest = output.Manifest.Digest,
                Tags = [.. tags.Select(Tag.Parse)],
                Principal = job.CreatedBy,
            }
        );
        database.AfterCommit(transaction, () => Record(job, output.Manifest.Digest, tags));
    }

    // The requester is long gone: what moved the tags is the job.
    private void Record(JobRow job, Digest digest, IReadOnlyList<string> tags)
    {
        foreach (var tag in tags)
        {
            audit.Write(
                new AuditEntry
                {
                    Principal = job.CreatedBy,
                    RequestId = job.Id,
                    Action = AuditActions.TagMove,
                    Repository = job.Repository.Value,
                    Reference = tag,
                    Digest = digest.ToString(),
                    Outcome = AuditOutcomes.Done,
                }
            );
        }
    }

    private static Ending Fail(List<TaskRow> tasks)
    {
        var failed = tasks.Find(t => t.Execution.State == BuildStates.Failed)?.Execution;
        return new Ending(
            BuildStates.Failed,
            failed?.Reason ?? FailureReasons.SystemError,
            failed?.Message ?? "a build that this job shared was cancelled"
        );
    }

    private void Write(DbTransaction transaction, JobRow job, Ending ending, bool cached)
    {
        var now = time.Milliseconds();
        var done = BuildStates.IsDone(ending.State);
        transaction.Run(
            """
            UPDATE jobs SET state = @state, reason = @reason, message = @message, result = @result, cached = @cached,
                revision = revision + 1, started = COALESCE(started, @started), finished = @finished
            WHERE id = @id
            """,
            ("id", job.Id),
            ("state", ending.State),
            ("reason", ending.Reason),
            ("message", ending.Message),
            ("result", ending.Result),
            ("cached", cached ? 1 : 0),
            ("started", ending.State is BuildStates.Queued or BuildStates.Canceled ? null : now),
            ("finished", done ? now : null)
        );
        if (done)
        {
            secrets.DeleteOf(transaction, job.Id);
        }

        events.Tell(transaction, job.Id);
        wakeups.AfterCommit(transaction, Wakeups.Job(job.Id));
    }

    private sealed record Ending(string State, string? Reason = null, string? Message = null)
    {
        /// <summary>JSON of <see cref="JobResult"/>.</summary>
        public string? Result { get; init; }
    }
}
