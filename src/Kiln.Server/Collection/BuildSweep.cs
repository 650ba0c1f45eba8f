using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Collection;

/// <summary>
/// Finished builds. A job stays while its image does, so that whoever has the image finds how it was made; otherwise it goes
/// by age, and what ran for it goes when no job is left that it ran for. Logs may go before.
/// </summary>
internal sealed class BuildSweep(Database database, TimeProvider time)
{
    private const int PageSize = 500;

    // A segment has up to 64 KiB.
    private const int MaxSegments = 64;

    /// <summary>Looks through the jobs of one repository, oldest first.</summary>
    public async Task RunAsync(CollectionRun run, CollectedRepository repository, CancellationToken cancel)
    {
        if (run.Options.KeepJobs is not { } keep || Newest(repository, run.Options.KeepNewestJobs) is not { } newest)
        {
            return;
        }

        var before = (time.GetUtcNow() - keep).ToUnixTimeMilliseconds();
        for (string? last = ""; last is not null; )
        {
            var page = Page(repository, last);
            var old = page.FindAll(job =>
                job.Finished is { } finished
                && finished <= before
                && string.CompareOrdinal(job.Id, newest) < 0
                && !database.Read(c => HasImage(c, repository.Id, job))
            );
            foreach (var batch in old.Chunk(run.Options.BatchSize))
            {
                await DeleteAsync(run, repository, batch, cancel);
            }

            last = page.Count < PageSize ? null : page[^1].Id;
        }
    }

    /// <summary>Executions that no job is left for, logs that are too old, and what leases left that have ended.</summary>
    public async Task CleanAsync(CollectionRun run, CancellationToken cancel)
    {
        // Nobody can ask for them any more: they are not told of, and a dry run has nothing to say.
        foreach (var execution in run.DryRun ? [] : Orphans())
        {
            await EmptyLogAsync(run, execution, cancel);
            await database.WriteAsync(
                transaction => transaction.Run("DELETE FROM executions WHERE id = @id", ("id", execution)),
                cancel
            );
        }

        if (run.Options.KeepLogs is { } keep)
        {
            foreach (var (execution, repository, bytes) in OldLogs(time.GetUtcNow() - keep))
            {
                await EmptyLogAsync(run, execution, cancel);
                await run.TellAsync(
                    new CollectionItem
                    {
                        Kind = CollectionKinds.Log,
                        Repository = repository,
                        Reference = execution,
                        Bytes = bytes,
                        Action = run.Deletes,
                        Reason = $"the build was done more than {Durations.Say(keep)} ago",
                    }
                );
            }
        }

        await DropStagingAsync(run, cancel);
    }

    private async Task DeleteAsync(
        CollectionRun run,
        CollectedRepository repository,
        Row[] batch,
        CancellationToken cancel
    )
    {
        var gone = batch.ToList();
        if (!run.DryRun)
        {
            gone = await database.WriteAsync(
                transaction => gone.FindAll(job => Delete(transaction, repository.Id, job)),
                cancel
            );
            await run.RestAsync(cancel);
        }

        foreach (var job in gone)
        {
            await run.TellAsync(
                new CollectionItem
                {
                    Kind = CollectionKinds.Job,
                    Repository = repository.Name.Value,
                    Reference = job.Id,
                    Action = run.Deletes,
                    Reason =
                        $"it was done more than {Durations.Say(run.Options.KeepJobs!.Value)} ago and its image is not there",
                }
            );
        }
    }

    private static bool Delete(DbTransaction transaction, long repository, Row job)
    {
        if (HasImage(transaction.Connection!, repository, job))
        {
            return false;
        }

        transaction.Run("DELETE FROM job_tasks WHERE job = @job", ("job", job.Id));
        return transaction.Run("DELETE FROM jobs WHERE id = @job AND finished IS NOT NULL", ("job", job.Id)) > 0;
    }

    private static bool HasImage(DbConnection connection, long repository, Row job) =>
        job.Result is { } result
        && JsonSerializer.Deserialize(result, BuildJson.Default.JobResult)?.Manifest is { } image
        && connection.Scalar<long?>(
            "SELECT 1 FROM manifests WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", image.Digest.ToString())
        )
            is not null;

    // Executions go with their last job; what never finished is nobody's to delete.
    private List<string> Orphans() =>
        database.Read(c =>
            c.Query(
                """
                SELECT e.id FROM executions e WHERE e.finished IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM job_tasks t WHERE t.execution = e.id) LIMIT 10000
                """,
                row => row.GetString(0)
            )
        );

    private List<(string Execution, string Repository, long Bytes)> OldLogs(DateTimeOffset before) =>
        database.Read(c =>
            c.Query(
                """
                SELECT e.id, r.name, e.log_size FROM executions e JOIN repositories r ON r.id = e.repository
                WHERE e.finished < @before AND EXISTS (SELECT 1 FROM log_segments s WHERE s.execution = e.id) LIMIT 10000
                """,
                row => (row.GetString(0), row.GetString(1), row.GetInt64(2)),
                ("before", before.ToUnixTimeMilliseconds())
            )
        );

    // A log of many megabytes in pieces.
    private async Task EmptyLogAsync(CollectionRun run, string execution, CancellationToken cancel)
    {
        for (var deleted = MaxSegments; deleted == MaxSegments && !run.DryRun; )
        {
            deleted = await database.WriteAsync(
                transaction =>
                    transaction.Run(
                        """
                        DELETE FROM log_segments WHERE execution = @execution AND start IN (
                            SELECT start FROM log_segments WHERE execution = @execution ORDER BY start LIMIT @limit
                        )
                        """,
                        ("execution", execution),
                        ("limit", MaxSegments)
                    ),
                cancel
            );
            await run.RestAsync(cancel);
        }
    }

    private async Task DropStagingAsync(CollectionRun run, CancellationToken cancel)
    {
        foreach (var table in new[] { "lease_blobs", "lease_manifests" })
        {
            var over = $"FROM {table} WHERE lease NOT IN (SELECT lease FROM executions WHERE lease IS NOT NULL)";
            var leases = database.Read(c => c.Query($"SELECT DISTINCT lease {over}", row => row.GetString(0)));
            foreach (var lease in leases)
            {
                if (!run.DryRun)
                {
                    await database.WriteAsync(
                        transaction => transaction.Run($"DELETE {over} AND lease = @lease", ("lease", lease)),
                        cancel
                    );
                }

                await run.TellAsync(
                    new CollectionItem
                    {
                        Kind = CollectionKinds.Staging,
                        Reference = lease,
                        Action = run.Deletes,
                        Reason = "the build that pushed it is over",
                    }
                );
            }
        }
    }

    // The oldest of the newest finished jobs that stay in any case; null where there are no more than those.
    private string? Newest(CollectedRepository repository, int count) =>
        database.Read(c =>
            count <= 0
                ? "~"
                : c.Scalar<string>(
                    """
                    SELECT id FROM jobs WHERE repository = @repository AND finished IS NOT NULL
                    ORDER BY id DESC LIMIT 1 OFFSET @skip
                    """,
                    ("repository", repository.Id),
                    ("skip", count - 1)
                )
        );

    private List<Row> Page(CollectedRepository repository, string last) =>
        database.Read(c =>
            c.Query(
                """
                SELECT id, finished, result FROM jobs WHERE repository = @repository AND id > @last
                ORDER BY id LIMIT @limit
                """,
                row => new Row(row.GetString(0), row.LongOrNull(1), row.TextOrNull(2)),
                ("repository", repository.Id),
                ("last", last),
                ("limit", PageSize)
            )
        );

    private sealed record Row(string Id, long? Finished, string? Result);
}
