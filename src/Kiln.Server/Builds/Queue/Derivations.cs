using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// Gives a job its further tasks: as soon as an image of it is there, what is to be made of that is placed as any build is
/// (build-extension, section 18). Only then is its key known, which is of the image and not of how it came to be.
/// </summary>
internal sealed class Derivations(Placement placement, Wakeups wakeups)
{
    /// <summary>Places what has become due.</summary>
    /// <returns>The job's tasks as they are now.</returns>
    public List<TaskRow> Extend(DbTransaction transaction, JobRow job, List<TaskRow> tasks)
    {
        if (job.State == BuildStates.Canceling || job.DerivationPlan is not { } plan)
        {
            return tasks;
        }

        if (!job.Partial && tasks.Exists(t => t.Execution.State is BuildStates.Failed or BuildStates.Canceled))
        {
            // The job has failed; nobody would get it.
            return tasks;
        }

        var all = TaskRow.Of(transaction.Connection!, job.Id);
        var before = all.Count;
        // What is made of an image may be there already, and be itself an image of which something is made.
        for (var at = 0; at < all.Count; at++)
        {
            var task = all[at];
            if (task.Left || task.Execution.State != BuildStates.Succeeded || all.Exists(t => t.Source == task.Ordinal))
            {
                continue;
            }

            foreach (var (format, compression) in plan.After(task.Execution.Format))
            {
                Place(transaction, job, plan, task, all.Count + 1, format, compression);
                all = TaskRow.Of(transaction.Connection!, job.Id);
            }
        }

        if (all.Count == before)
        {
            return tasks;
        }

        transaction.Run("UPDATE jobs SET revision = revision + 1 WHERE id = @job", ("job", job.Id));
        wakeups.AfterCommit(transaction, Wakeups.Job(job.Id));
        wakeups.AfterCommit(transaction, Wakeups.Queue);
        return all.FindAll(t => !t.Left);
    }

    private void Place(
        DbTransaction transaction,
        JobRow job,
        DerivationPlan plan,
        TaskRow source,
        int ordinal,
        string format,
        string compression
    )
    {
        var connection = transaction.Connection!;
        var made = JsonSerializer.Deserialize(source.Execution.Task, BuildJson.Default.LeaseTask)!;
        var image = JsonSerializer.Deserialize(source.Execution.Manifest!, BuildJson.Default.Descriptor)!;
        var task = DerivationPlan.TaskOf(
            made,
            image with
            {
                Data = ManifestRows.Content(connection, source.Execution.Repository, image.Digest),
            },
            format,
            compression
        );
        var wanted = new Wanted(
            source.Execution.Repository,
            job.CreatedBy,
            plan.Shareable,
            Refresh: false,
            QueuedOnly: false,
            // The same image gives the same bytes, however long ago.
            MaxAgeSeconds: null,
            plan.QueueSeconds,
            plan.MayWaitWithOthers
        );
        var planned = new PlannedTask(source.Microarchitecture, DerivationPlan.KeyOf(task).Compute(), task);
        placement.Place(
            transaction,
            job.Id,
            ordinal,
            wanted,
            planned,
            placement.Find(connection, wanted, planned),
            source.Ordinal
        );
    }
}
