using System.Data.Common;
using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Collection;

/// <summary>Repositories that have nothing left, so that nothing is left of them.</summary>
internal sealed class RepositorySweep(Database database, TimeProvider time)
{
    private static readonly string[] Holders =
    [
        "manifests",
        "repository_blobs",
        "tags",
        "uploads",
        "jobs",
        "executions",
        "secrets",
    ];

    // Whoever registers a hook before the first push waits for something. Hooks of a repository in which nothing has been for
    // so long go with it.
    private static readonly TimeSpan HookGrace = TimeSpan.FromDays(30);

    private static readonly string IsEmpty = string.Join(
        " AND ",
        Holders
            .Select(table => $"NOT EXISTS (SELECT 1 FROM {table} x WHERE x.repository = r.id)")
            .Append("NOT EXISTS (SELECT 1 FROM hooks x WHERE x.repository = r.id AND x.created > @hooks)")
    );

    /// <summary>Looks at one repository.</summary>
    public async Task RunAsync(CollectionRun run, CollectedRepository repository, CancellationToken cancel)
    {
        if (!database.Read(c => IsDone(c, repository, run.Options.Grace)))
        {
            return;
        }

        if (
            !run.DryRun
            && !await database.WriteAsync(transaction => Remove(transaction, repository, run.Options.Grace), cancel)
        )
        {
            return;
        }

        await run.TellAsync(
            new CollectionItem
            {
                Kind = CollectionKinds.Repository,
                Repository = repository.Name.Value,
                Reference = repository.Name.Value,
                Action = run.Deletes,
                Reason = "nothing is in it",
            }
        );
        await run.RestAsync(cancel);
    }

    // A young one may be about to get its first upload.
    private bool IsDone(DbConnection connection, CollectedRepository repository, TimeSpan grace) =>
        connection.Scalar<long?>(
            $"SELECT 1 FROM repositories r WHERE r.id = @id AND r.created <= @before AND {IsEmpty}",
            ("id", repository.Id),
            ("before", (time.GetUtcNow() - grace).ToUnixTimeMilliseconds()),
            ("hooks", (time.GetUtcNow() - HookGrace).ToUnixTimeMilliseconds())
        )
            is not null;

    private bool Remove(DbTransaction transaction, CollectedRepository repository, TimeSpan grace)
    {
        if (!IsDone(transaction.Connection!, repository, grace))
        {
            return false;
        }

        const string receivers = "SELECT 'hook:' || h.id FROM hooks h WHERE h.repository = @id";
        transaction.Run($"DELETE FROM deliveries WHERE target IN ({receivers})", ("id", repository.Id));
        transaction.Run($"DELETE FROM delivery_targets WHERE id IN ({receivers})", ("id", repository.Id));
        foreach (var table in new[] { "condemned_links", "condemned_manifests", "hooks" })
        {
            transaction.Run($"DELETE FROM {table} WHERE repository = @id", ("id", repository.Id));
        }

        transaction.Run("DELETE FROM repositories WHERE id = @id", ("id", repository.Id));
        JournalOutbox.Note(
            transaction,
            new JournalEntry
            {
                Op = JournalOps.Unrepository,
                Repository = repository.Name.Value,
                Time = time.Milliseconds(),
            }
        );
        return true;
    }
}
