using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Audit;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Collection;

/// <summary>Tags that the rules of retention do not keep.</summary>
internal sealed class TagSweep(
    Database database,
    Tags tags,
    ImmutableTags immutable,
    RetentionRules rules,
    AuditLog audit,
    TimeProvider time
)
{
    /// <summary>Whether there is anything to do in any repository.</summary>
    public bool HasRules => rules.DeletesTags;

    public async Task RunAsync(CollectionRun run, CollectedRepository repository, CancellationToken cancel)
    {
        foreach (var verdict in rules.Judge(repository.Name, All(repository), time.GetUtcNow()))
        {
            var item = new CollectionItem
            {
                Kind = CollectionKinds.Tag,
                Repository = repository.Name.Value,
                Reference = verdict.Tag.Name,
                Action = verdict.Keep ? CollectionActions.Keep : run.Deletes,
                Reason = verdict.Reason,
            };
            if (!verdict.Keep && immutable.RuleFor(repository.Name, verdict.Tag.Name) is { } rule)
            {
                item = item with { Action = CollectionActions.Keep, Reason = $"it is immutable by {rule}" };
            }
            else if (!verdict.Keep && !run.DryRun)
            {
                if (!await RemoveAsync(repository, verdict.Tag, cancel))
                {
                    continue;
                }

                await run.RestAsync(cancel);
            }

            await run.TellAsync(item);
        }
    }

    // One that was moved meanwhile is another tag.
    private Task<bool> RemoveAsync(CollectedRepository repository, RetainedTag tag, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var updated = transaction.Scalar<long?>(
                    "SELECT updated FROM tags WHERE repository = @repository AND name = @tag",
                    ("repository", repository.Id),
                    ("tag", tag.Name)
                );
                if (updated != tag.Updated.ToUnixTimeMilliseconds())
                {
                    return false;
                }

                tags.Remove(transaction, repository.Id, repository.Name, tag.Name);
                database.AfterCommit(transaction, () => Record(repository.Name, tag.Name));
                return true;
            },
            cancel
        );

    private void Record(RepositoryName repository, string tag) =>
        audit.Write(
            new AuditEntry
            {
                Principal = Collector.Principal,
                Action = AuditActions.TagDelete,
                Repository = repository.Value,
                Reference = tag,
                Outcome = AuditOutcomes.Done,
            }
        );

    private List<RetainedTag> All(CollectedRepository repository) =>
        database.Read(c =>
            c.Query(
                "SELECT name, updated FROM tags WHERE repository = @repository",
                row => new RetainedTag(row.GetString(0), DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(1))),
                ("repository", repository.Id)
            )
        );
}
