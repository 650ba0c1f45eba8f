using Kiln.Client.Administration;
using Kiln.Oci;

namespace Kiln.Server.Collection;

/// <summary>One collection under way: what it may do, whom it tells, how far it is.</summary>
/// <param name="tell">Told of each thing, in order.</param>
internal sealed class CollectionRun(
    bool dryRun,
    CollectionOptions options,
    Func<CollectionLine, ValueTask> tell,
    TimeProvider time
)
{
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(5);

    private readonly Lock _lock = new();
    private readonly Dictionary<(string Kind, string Action), (long Count, long Bytes)> _counts = [];
    private readonly long _began = time.GetTimestamp();
    private CollectionStatus _status = new();
    private long _told = time.GetTimestamp();

    public bool DryRun => dryRun;
    public CollectionOptions Options => options;

    /// <summary>What the items of this run are that are not to stay.</summary>
    public string Deletes => dryRun ? CollectionActions.Delete : CollectionActions.Deleted;

    public CollectionSummary Summary =>
        new()
        {
            DryRun = dryRun,
            Seconds = Math.Round(time.GetElapsedTime(_began).TotalSeconds, 3),
            Counts = Counts(),
        };

    public CollectionStatus Status
    {
        get
        {
            lock (_lock)
            {
                return _status with { Counts = Counts() };
            }
        }
    }

    /// <summary>Says what comes now.</summary>
    public ValueTask EnterAsync(string phase)
    {
        lock (_lock)
        {
            _status = new CollectionStatus { Phase = phase };
        }

        return tell(new CollectionLine { Phase = phase });
    }

    /// <summary>Says how far it is; also to show that it has not died, where nothing is to be told for long.</summary>
    /// <param name="repository">The one that has come up; null in a phase that does not go through them.</param>
    public ValueTask ReachAsync(RepositoryName? repository)
    {
        CollectionLine line;
        lock (_lock)
        {
            _status = _status with { Repository = repository?.Value };
            if (time.GetElapsedTime(_told) < Silence)
            {
                return ValueTask.CompletedTask;
            }

            _told = time.GetTimestamp();
            line = new CollectionLine { Phase = _status.Phase, Repository = _status.Repository };
        }

        return tell(line);
    }

    /// <summary>Tells of a thing and counts it.</summary>
    public ValueTask TellAsync(CollectionItem item)
    {
        lock (_lock)
        {
            _told = time.GetTimestamp();
            var (count, bytes) = _counts.GetValueOrDefault((item.Kind, item.Action));
            _counts[(item.Kind, item.Action)] = (count + 1, bytes + (item.Bytes ?? 0));
        }

        return tell(new CollectionLine { Item = item });
    }

    /// <summary>Lets others write.</summary>
    public Task RestAsync(CancellationToken cancel) =>
        dryRun || options.Pause <= TimeSpan.Zero ? Task.CompletedTask : Task.Delay(options.Pause, time, cancel);

    private List<CollectionCount> Counts()
    {
        lock (_lock)
        {
            return
            [
                .. _counts
                    .OrderBy(c => c.Key.Kind, StringComparer.Ordinal)
                    .ThenBy(c => c.Key.Action, StringComparer.Ordinal)
                    .Select(c => new CollectionCount
                    {
                        Kind = c.Key.Kind,
                        Action = c.Key.Action,
                        Count = c.Value.Count,
                        Bytes = c.Value.Bytes,
                    }),
            ];
        }
    }
}

/// <summary>A repository that a collection comes to.</summary>
internal sealed record CollectedRepository(long Id, RepositoryName Name);
