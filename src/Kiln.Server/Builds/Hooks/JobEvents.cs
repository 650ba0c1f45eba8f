using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Delivery;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Hooks;

/// <summary>
/// Tells hooks what becomes of jobs, in the transaction in which it does. An event says where the job is and in which state;
/// whoever wants to know more has to be let in.
/// </summary>
internal sealed class JobEvents(Outbox outbox, TimeProvider time)
{
    /// <summary>Tells those who want to know of the state that a job is in now.</summary>
    public void Tell(DbTransaction transaction, string job)
    {
        var connection = transaction.Connection!;
        var repository = connection.Scalar<long>("SELECT repository FROM jobs WHERE id = @job", ("job", job));
        var hooks = HookRow.Of(connection, repository).FindAll(hook => hook.Active);
        if (hooks.Count == 0)
        {
            return;
        }

        var row = JobRow.Find(connection, job)!;
        var tasks = TaskRow.Of(connection, job);
        var id = Ids.New(time);
        foreach (var hook in hooks.Where(hook => Wants(hook, row, tasks)))
        {
            outbox.Add(transaction, hook.Target, id, Write(id, hook.Origin, row, tasks));
        }
    }

    /// <summary>An event about nothing.</summary>
    public static byte[] Ping(string id, HookRow hook, RepositoryName repository, DateTimeOffset now) =>
        CloudEvent.Write(
            id,
            TypeOf(HookEvents.Ping),
            $"{hook.Origin}/v2/{repository}",
            hook.Id,
            now,
            json => json.WriteString("hook", hook.Id)
        );

    private static string TypeOf(string name) => $"{HookEvents.TypePrefix}{name}.v1";

    private static bool Wants(HookRow hook, JobRow job, List<TaskRow> tasks) =>
        hook.Events.Contains(HookEvents.JobPrefix + job.State, StringComparer.Ordinal)
        && hook.Filter?.Recipes?.Contains(job.RecipeType, StringComparer.Ordinal) is not false
        && (
            hook.Filter?.Platforms is not { } platforms
            || tasks.Exists(t =>
                platforms.Any(p => Platform.TryParse(p, out var wanted) && wanted.ToString() == t.Execution.Platform)
            )
        );

    private byte[] Write(string id, string origin, JobRow job, List<TaskRow> tasks)
    {
        var source = $"{origin}/v2/{job.Repository}";
        var address = origin + Ids.JobPath(job.Repository, job.Id);
        return CloudEvent.Write(
            id,
            TypeOf(HookEvents.JobPrefix + job.State),
            source,
            job.Id,
            time.GetUtcNow(),
            json =>
            {
                json.WriteString("job", address);
                json.WriteString("state", job.State);
                json.WriteNumber("revision", job.Revision);
                if (job.Reason is not null)
                {
                    json.WriteString("reason", job.Reason);
                }

                json.WriteStartObject("recipe");
                json.WriteString("digest", job.RecipeDigest.ToString());
                json.WriteString("type", job.RecipeType);
                json.WriteEndObject();
                Write(json, tasks);
                if (job.State == BuildStates.Queued)
                {
                    json.WriteString("claim", $"{source}/_build/v1/leases?job={job.Id}");
                }
            }
        );
    }

    private static void Write(Utf8JsonWriter json, List<TaskRow> tasks)
    {
        json.WriteStartArray("tasks");
        foreach (var task in tasks)
        {
            json.WriteStartObject();
            json.WriteString("id", task.Id);
            json.WriteString("platform", task.Execution.Platform.ToString());
            json.WriteString("state", task.Execution.State);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
