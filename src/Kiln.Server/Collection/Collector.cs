using Kiln.Client.Administration;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Collection;

/// <summary>
/// Garbage collection: what leaves the registry, and in what order. It holds nothing for longer than one short transaction,
/// and each transaction looks again at what it removes, so that it may run beside everything else, on several servers, and
/// be killed anywhere (docs/adr/0040-collecting-while-serving.md).
/// </summary>
internal sealed class Collector(
    Database database,
    TagSweep tags,
    ManifestSweep manifests,
    BlobSweep blobs,
    BuildSweep builds,
    RepositorySweep repositories,
    UploadSweep uploads,
    ServerOptions options,
    TimeProvider time
)
{
    /// <summary>Who deletes, for the audit log.</summary>
    public const string Principal = "kiln:gc";

    private const int PageSize = 500;
    private readonly Lock _lock = new();
    private CollectionRun? _running;
    private DateTimeOffset? _lastStarted;
    private CollectionSummary? _last;

    public CollectionStatus Status
    {
        get
        {
            lock (_lock)
            {
                return (_running?.Status ?? new CollectionStatus()) with { LastStarted = _lastStarted, Last = _last };
            }
        }
    }

    /// <summary>Collects once. A dry run writes nothing and may run beside another.</summary>
    /// <param name="tell">Told of each thing, and of the phases.</param>
    /// <exception cref="OciException"><c>UNAVAILABLE</c>, 409: this server is collecting already.</exception>
    public async Task<CollectionSummary> RunAsync(
        bool dryRun,
        Func<CollectionLine, ValueTask> tell,
        CancellationToken cancel
    )
    {
        var run = new CollectionRun(dryRun, options.Collection, tell, time);
        if (dryRun)
        {
            await WorkAsync(run, cancel);
            return run.Summary;
        }

        Begin(run);
        try
        {
            await WorkAsync(run, cancel);
            return run.Summary;
        }
        finally
        {
            End(run);
        }
    }

    private async Task WorkAsync(CollectionRun run, CancellationToken cancel)
    {
        await run.EnterAsync("uploads");
        await uploads.RunAsync(run, cancel);
        await run.EnterAsync("builds");
        await builds.CleanAsync(run, cancel);
        await ForEachAsync(run, builds.RunAsync, cancel);
        await run.EnterAsync("tags");
        if (tags.HasRules)
        {
            await ForEachAsync(run, tags.RunAsync, cancel);
        }

        await run.EnterAsync("manifests");
        await ForEachAsync(run, manifests.RunAsync, cancel);
        await run.EnterAsync("links");
        await ForEachAsync(run, blobs.UnlinkAsync, cancel);
        await run.EnterAsync("blobs");
        await blobs.DeleteAsync(run, cancel);
        await run.EnterAsync("repositories");
        await ForEachAsync(run, repositories.RunAsync, cancel);
    }

    private async Task ForEachAsync(
        CollectionRun run,
        Func<CollectionRun, CollectedRepository, CancellationToken, Task> work,
        CancellationToken cancel
    )
    {
        for (long? last = 0; last is not null; )
        {
            var page = database.Read(c =>
                c.Query(
                    "SELECT id, name FROM repositories WHERE id > @last ORDER BY id LIMIT @limit",
                    row => new CollectedRepository(row.GetInt64(0), RepositoryName.Parse(row.GetString(1))),
                    ("last", last.Value),
                    ("limit", PageSize)
                )
            );
            foreach (var repository in page)
            {
                cancel.ThrowIfCancellationRequested();
                await run.ReachAsync(repository.Name);
                await work(run, repository, cancel);
            }

            last = page.Count < PageSize ? null : page[^1].Id;
        }
    }

    private void Begin(CollectionRun run)
    {
        lock (_lock)
        {
            if (_running is not null)
            {
                throw new OciException(
                    new ErrorCode("UNAVAILABLE", 409),
                    $"a collection is under way, and has come to {_running.Status.Phase ?? "its beginning"}; wait for its end"
                );
            }

            (_running, _lastStarted) = (run, time.GetUtcNow());
        }
    }

    private void End(CollectionRun run)
    {
        lock (_lock)
        {
            (_running, _last) = (null, run.Summary);
        }
    }
}
