using System.Data.Common;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Audit;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Collection;

/// <summary>
/// Manifests that no tag, index, subject or job keeps: they are condemned when they are first found so, and removed when
/// their time is up and they still are. What they kept goes the same way then.
/// </summary>
internal sealed class ManifestSweep(
    Database database,
    Manifests manifests,
    RetentionRules rules,
    AuditLog audit,
    TimeProvider time
)
{
    private const int PageSize = 1000;

    // Why a manifest stays; null where nothing keeps it. A recipe stays as long as a job of it; the product of a build as
    // long as a job waits that will list it.
    private const string Keeper = """
        CASE
        WHEN EXISTS (SELECT 1 FROM tags t WHERE t.repository = m.repository AND t.digest = m.digest) THEN 'a tag'
        WHEN EXISTS (
            SELECT 1 FROM manifest_references p
            WHERE p.repository = m.repository AND p.digest = m.digest AND p.kind = 'manifest'
        ) THEN 'an index'
        WHEN m.subject IS NOT NULL AND EXISTS (
            SELECT 1 FROM manifests s WHERE s.repository = m.repository AND s.digest = m.subject
        ) THEN 'its subject'
        WHEN EXISTS (
            SELECT 1 FROM jobs j WHERE j.repository = m.repository AND j.recipe_digest = m.digest
        ) THEN 'a job'
        WHEN EXISTS (
            SELECT 1 FROM executions e JOIN job_tasks k ON k.execution = e.id JOIN jobs j ON j.id = k.job
            WHERE e.repository = m.repository AND e.manifest_digest = m.digest AND j.finished IS NULL
        ) THEN 'a job under way'
        END
        """;

    public async Task RunAsync(CollectionRun run, CollectedRepository repository, CancellationToken cancel)
    {
        var rule = rules.Untagged(repository.Name, run.Options.KeepUntagged);
        var spared = rule.KeepNewest > 0 ? Newest(repository, rule.KeepNewest) : [];
        for (string? last = ""; last is not null; )
        {
            var page = Page(repository, last);
            await MarkAsync(run, repository, page, cancel);
            foreach (var row in page.Where(row => row.Keeper is null))
            {
                await JudgeAsync(run, repository, row, rule, spared.Contains(row.Digest), cancel);
            }

            last = page.Count < PageSize ? null : page[^1].Digest.ToString();
        }
    }

    private async Task JudgeAsync(
        CollectionRun run,
        CollectedRepository repository,
        Row row,
        UntaggedRule rule,
        bool spared,
        CancellationToken cancel
    )
    {
        var item = new CollectionItem
        {
            Kind = CollectionKinds.Manifest,
            Repository = repository.Name.Value,
            Reference = row.Digest.ToString(),
            Bytes = row.Size,
            Action = CollectionActions.Wait,
            Reason = "no tag, index, subject or job keeps it",
        };
        if (rule.After is not { } after)
        {
            await run.TellAsync(item with { Action = CollectionActions.Keep, Reason = $"{item.Reason}; {rule}" });
        }
        else if (spared)
        {
            var reason = $"{item.Reason}, but it is among the newest {rule.KeepNewest} such; {rule.Source}";
            await run.TellAsync(item with { Action = CollectionActions.Keep, Reason = reason });
        }
        else
        {
            var now = time.GetUtcNow();
            var due = Due(row, after, run.Options.Grace, now);
            if (due <= now && (run.DryRun || await RemoveAsync(repository, row, after, run.Options.Grace, cancel)))
            {
                var since = DateTimeOffset.FromUnixTimeMilliseconds(row.Since ?? now.ToUnixTimeMilliseconds());
                var reason = $"{item.Reason} since {since:u}; {rule}";
                await run.TellAsync(item with { Action = run.Deletes, Reason = reason });
                await run.RestAsync(cancel);
            }
            else if (due > now)
            {
                await run.TellAsync(item with { Reason = $"{item.Reason}; {rule}", Due = due });
            }
        }
    }

    private static DateTimeOffset Due(Row row, TimeSpan after, TimeSpan grace, DateTimeOffset now)
    {
        var since = DateTimeOffset.FromUnixTimeMilliseconds(row.Since ?? now.ToUnixTimeMilliseconds()) + after;
        var asked = DateTimeOffset.FromUnixTimeMilliseconds(row.Asked ?? now.ToUnixTimeMilliseconds()) + grace;
        return since > asked ? since : asked;
    }

    // Condemns what is found without a keeper, and spares what has one (again).
    private async Task MarkAsync(
        CollectionRun run,
        CollectedRepository repository,
        List<Row> page,
        CancellationToken cancel
    )
    {
        var changed = page.FindAll(row => row.Keeper is null ? row.Since is null : row.Since is not null);
        if (run.DryRun)
        {
            return;
        }

        foreach (var batch in changed.Chunk(run.Options.BatchSize))
        {
            await database.WriteAsync(
                transaction =>
                {
                    var now = time.Milliseconds();
                    foreach (var row in batch)
                    {
                        if (row.Keeper is null)
                        {
                            Condemn(transaction, repository.Id, row.Digest, now, now);
                        }
                        else
                        {
                            Manifests.Spare(transaction, repository.Id, row.Digest);
                        }
                    }
                },
                cancel
            );
            await run.RestAsync(cancel);
        }
    }

    // Everything is looked at again in the transaction that removes it.
    private Task<bool> RemoveAsync(
        CollectedRepository repository,
        Row row,
        TimeSpan after,
        TimeSpan grace,
        CancellationToken cancel
    ) =>
        database.WriteAsync(
            transaction =>
            {
                var now = time.GetUtcNow();
                var current = Find(transaction.Connection!, repository.Id, row.Digest);
                if (current is not { Keeper: null, Since: not null } || Due(current, after, grace, now) > now)
                {
                    return false;
                }

                var kept = KeptBy(transaction, repository.Id, row.Digest);
                manifests.Remove(transaction, repository.Id, repository.Name, row.Digest);
                foreach (var orphan in kept)
                {
                    if (Find(transaction.Connection!, repository.Id, orphan) is { Keeper: null })
                    {
                        // It need not wait as long again, but whoever was told that it is there has time to use it.
                        Condemn(transaction, repository.Id, orphan, current.Since.Value, now.ToUnixTimeMilliseconds());
                    }
                }

                database.AfterCommit(transaction, () => Record(repository.Name, row.Digest));
                return true;
            },
            cancel
        );

    private void Record(RepositoryName repository, Digest digest) =>
        audit.Write(
            new AuditEntry
            {
                Principal = Collector.Principal,
                Action = AuditActions.ManifestDelete,
                Repository = repository.Value,
                Digest = digest.ToString(),
                Outcome = AuditOutcomes.Done,
            }
        );

    private static void Condemn(DbTransaction transaction, long repository, Digest digest, long since, long asked) =>
        transaction.Run(
            """
            INSERT INTO condemned_manifests (repository, digest, since, asked)
            SELECT repository, digest, @since, @asked FROM manifests WHERE repository = @repository AND digest = @digest
            ON CONFLICT DO NOTHING
            """,
            ("repository", repository),
            ("digest", digest.ToString()),
            ("since", since),
            ("asked", asked)
        );

    // Children and referrers.
    private static List<Digest> KeptBy(DbTransaction transaction, long repository, Digest digest) =>
        transaction.Query(
            """
            SELECT digest FROM manifest_references
            WHERE repository = @repository AND manifest = @digest AND kind = 'manifest'
            UNION SELECT digest FROM manifests WHERE repository = @repository AND subject = @digest
            """,
            row => Digest.Parse(row.GetString(0)),
            ("repository", repository),
            ("digest", digest.ToString())
        );

    private List<Row> Page(CollectedRepository repository, string last) =>
        database.Read(c =>
            c.Query(
                $"""
                SELECT m.digest, length(m.content), c.since, c.asked, {Keeper}
                FROM manifests m
                LEFT JOIN condemned_manifests c ON c.repository = m.repository AND c.digest = m.digest
                WHERE m.repository = @repository AND m.digest > @last ORDER BY m.digest LIMIT @limit
                """,
                Row.Map,
                ("repository", repository.Id),
                ("last", last),
                ("limit", PageSize)
            )
        );

    private static Row? Find(DbConnection connection, long repository, Digest digest) =>
        connection
            .Query(
                $"""
                SELECT m.digest, length(m.content), c.since, c.asked, {Keeper}
                FROM manifests m
                LEFT JOIN condemned_manifests c ON c.repository = m.repository AND c.digest = m.digest
                WHERE m.repository = @repository AND m.digest = @digest
                """,
                Row.Map,
                ("repository", repository),
                ("digest", digest.ToString())
            )
            .FirstOrDefault();

    private HashSet<Digest> Newest(CollectedRepository repository, int count) =>
        [
            .. database.Read(c =>
                c.Query(
                    $"""
                    SELECT digest FROM (
                        SELECT m.digest AS digest, m.created AS created, {Keeper} AS keeper FROM manifests m
                        WHERE m.repository = @repository
                    ) AS found WHERE keeper IS NULL ORDER BY created DESC, digest LIMIT @count
                    """,
                    row => Digest.Parse(row.GetString(0)),
                    ("repository", repository.Id),
                    ("count", count)
                )
            ),
        ];

    private sealed record Row(Digest Digest, long Size, long? Since, long? Asked, string? Keeper)
    {
        public static Row Map(DbDataReader row) =>
            new(
                Digest.Parse(row.GetString(0)),
                row.GetInt64(1),
                row.LongOrNull(2),
                row.LongOrNull(3),
                row.TextOrNull(4)
            );
    }
}
