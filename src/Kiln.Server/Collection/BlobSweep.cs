using System.Data.Common;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Collection;

/// <summary>
/// Blobs, in two steps: out of a repository of which no manifest refers to them, and off the disk when no repository sees
/// them. Each is condemned first and goes when its time is up, if nobody used it meanwhile.
/// </summary>
internal sealed class BlobSweep(Database database, CondemnedBlobs condemned, TimeProvider time)
{
    private const int PageSize = 2000;

    // What is being deleted cannot be pushed for that long; so it is not many at a time.
    private const int MaxDeletions = 20;

    /// <summary>Looks through what one repository sees.</summary>
    public async Task UnlinkAsync(CollectionRun run, CollectedRepository repository, CancellationToken cancel)
    {
        for (string? last = ""; last is not null; )
        {
            var page = Links(repository, last);
            // What is used again is not condemned any more, and what is not used is.
            var changed = page.FindAll(row => row.Used ? row.Since is not null : row.Since is null);
            await InBatchesAsync(run, changed, (t, row) => Mark(t, repository.Id, row), cancel);
            foreach (var batch in page.Where(row => !row.Used).Chunk(run.Options.BatchSize))
            {
                await UnlinkAsync(run, repository, batch, cancel);
            }

            last = page.Count < PageSize ? null : page[^1].Digest.ToString();
        }
    }

    /// <summary>Looks through all blobs.</summary>
    public async Task DeleteAsync(CollectionRun run, CancellationToken cancel)
    {
        if (!run.DryRun)
        {
            foreach (var (digest, why) in await condemned.ResumeAsync(cancel))
            {
                await TellFailedAsync(run, digest, bytes: null, why);
            }

            await condemned.ForgetAsync(cancel);
        }

        for (string? last = ""; last is not null; )
        {
            await run.ReachAsync(repository: null);
            var page = Blobs(last);
            var changed = page.FindAll(row => row.Used ? row.Since is not null : row.Since is null);
            await InBatchesAsync(
                run,
                changed,
                (transaction, row) =>
                {
                    if (row.Used)
                    {
                        CondemnedBlobs.Rescue(transaction, row.Digest);
                    }
                    else
                    {
                        condemned.Condemn(transaction, row.Digest);
                    }
                },
                cancel
            );
            foreach (var batch in page.Where(row => !row.Used).Chunk(MaxDeletions))
            {
                await DeleteAsync(run, batch, cancel);
            }

            last = page.Count < PageSize ? null : page[^1].Digest.ToString();
        }
    }

    private async Task UnlinkAsync(
        CollectionRun run,
        CollectedRepository repository,
        Row[] batch,
        CancellationToken cancel
    )
    {
        var due = batch.Where(row => IsDue(row, run.Options.Grace)).ToList();
        var gone = due;
        if (!run.DryRun && due.Count > 0)
        {
            gone = await database.WriteAsync(
                transaction => due.FindAll(row => Unlink(transaction, repository.Id, row.Digest, run.Options.Grace)),
                cancel
            );
            await run.RestAsync(cancel);
        }

        foreach (var row in batch)
        {
            await TellAsync(
                run,
                row,
                gone.Contains(row),
                run.Options.Grace,
                new CollectionItem
                {
                    Kind = CollectionKinds.Link,
                    Repository = repository.Name.Value,
                    Reference = row.Digest.ToString(),
                    Action = CollectionActions.Wait,
                    Reason = "no manifest of the repository refers to it",
                }
            );
        }
    }

    private async Task DeleteAsync(CollectionRun run, Row[] batch, CancellationToken cancel)
    {
        var due = batch.Where(row => IsDue(row, run.Options.BytesGrace)).ToList();
        var gone = due;
        if (!run.DryRun && due.Count > 0)
        {
            var before = time.GetUtcNow() - run.Options.BytesGrace;
            var begun = await database.WriteAsync(
                transaction =>
                    due.ConvertAll(row => (Row: row, Begun: condemned.Begin(transaction, row.Digest, before)))
                        .FindAll(b => b.Begun is not null),
                cancel
            );
            gone = [];
            foreach (var (row, what) in begun)
            {
                if (await condemned.TryFinishAsync(what!) is { } why)
                {
                    await TellFailedAsync(run, row.Digest, row.Size, why);
                }
                else
                {
                    gone.Add(row);
                }
            }

            await run.RestAsync(cancel);
        }

        foreach (var row in batch)
        {
            await TellAsync(
                run,
                row,
                gone.Contains(row),
                run.Options.BytesGrace,
                new CollectionItem
                {
                    Kind = CollectionKinds.Blob,
                    Reference = row.Digest.ToString(),
                    Bytes = row.Size,
                    Action = CollectionActions.Wait,
                    Reason = "no repository sees it",
                }
            );
        }
    }

    private static ValueTask TellFailedAsync(CollectionRun run, Digest digest, long? bytes, string why) =>
        run.TellAsync(
            new CollectionItem
            {
                Kind = CollectionKinds.Blob,
                Reference = digest.ToString(),
                Bytes = bytes,
                Action = CollectionActions.Failed,
                Reason = $"{why}; a later collection tries again",
            }
        );

    private async Task TellAsync(CollectionRun run, Row row, bool gone, TimeSpan grace, CollectionItem item)
    {
        var since = row.Since is { } at ? DateTimeOffset.FromUnixTimeMilliseconds(at) : time.GetUtcNow();
        if (gone)
        {
            await run.TellAsync(item with { Action = run.Deletes, Reason = $"{item.Reason} since {since:u}" });
        }
        else if (!IsDue(row, grace))
        {
            await run.TellAsync(item with { Due = since + grace });
        }
    }

    private bool IsDue(Row row, TimeSpan grace) => row.Since is { } since && since + grace.TotalMilliseconds <= Now;

    private double Now => time.Milliseconds();

    private async Task InBatchesAsync(
        CollectionRun run,
        List<Row> rows,
        Action<DbTransaction, Row> work,
        CancellationToken cancel
    )
    {
        if (run.DryRun)
        {
            return;
        }

        foreach (var batch in rows.Chunk(run.Options.BatchSize))
        {
            await database.WriteAsync(
                transaction =>
                {
                    foreach (var row in batch)
                    {
                        work(transaction, row);
                    }
                },
                cancel
            );
            await run.RestAsync(cancel);
        }
    }

    private void Mark(DbTransaction transaction, long repository, Row row)
    {
        if (row.Used)
        {
            Registry.Blobs.Rescue(transaction, repository, row.Digest);
            return;
        }

        transaction.Run(
            """
            INSERT INTO condemned_links (repository, digest, since)
            SELECT repository, digest, @now FROM repository_blobs WHERE repository = @repository AND digest = @digest
            ON CONFLICT DO NOTHING
            """,
            ("repository", repository),
            ("digest", row.Digest.ToString()),
            ("now", time.Milliseconds())
        );
    }

    private bool Unlink(DbTransaction transaction, long repository, Digest digest, TimeSpan grace) =>
        transaction.Scalar<long?>(
            """
            SELECT 1 FROM condemned_links c
            WHERE c.repository = @repository AND c.digest = @digest AND c.since <= @before AND NOT EXISTS (
                SELECT 1 FROM manifest_references m WHERE m.repository = c.repository AND m.digest = c.digest
            )
            """,
            ("repository", repository),
            ("digest", digest.ToString()),
            ("before", (time.GetUtcNow() - grace).ToUnixTimeMilliseconds())
        )
            is not null
        && Registry.Blobs.Unlink(transaction, repository, digest, time.Milliseconds());

    private List<Row> Links(CollectedRepository repository, string last) =>
        database.Read(c =>
            c.Query(
                """
                SELECT l.digest, b.size, c.since, CASE WHEN EXISTS (
                    SELECT 1 FROM manifest_references m WHERE m.repository = l.repository AND m.digest = l.digest
                ) THEN 1 ELSE 0 END
                FROM repository_blobs l JOIN blobs b ON b.digest = l.digest
                LEFT JOIN condemned_links c ON c.repository = l.repository AND c.digest = l.digest
                WHERE l.repository = @repository AND l.digest > @last ORDER BY l.digest LIMIT @limit
                """,
                Row.Map,
                ("repository", repository.Id),
                ("last", last),
                ("limit", PageSize)
            )
        );

    private List<Row> Blobs(string last) =>
        database.Read(c =>
            c.Query(
                """
                SELECT b.digest, b.size, c.since, CASE WHEN EXISTS (
                    SELECT 1 FROM repository_blobs l WHERE l.digest = b.digest
                ) OR EXISTS (SELECT 1 FROM lease_blobs s WHERE s.digest = b.digest)
                OR EXISTS (SELECT 1 FROM manifests m WHERE m.digest = b.digest) THEN 1 ELSE 0 END
                FROM blobs b LEFT JOIN condemned_blobs c ON c.digest = b.digest AND c.state = 'condemned'
                WHERE b.digest > @last ORDER BY b.digest LIMIT @limit
                """,
                Row.Map,
                ("last", last),
                ("limit", PageSize)
            )
        );

    private sealed record Row(Digest Digest, long Size, long? Since, bool Used)
    {
        public static Row Map(DbDataReader row) =>
            new(Digest.Parse(row.GetString(0)), row.GetInt64(1), row.LongOrNull(2), row.GetInt64(3) != 0);
    }
}
