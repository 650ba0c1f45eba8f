using Kiln.Oci;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Registry.Upstreams;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Builds.Rebuilds;

/// <summary>
/// Looks after bases: has <see cref="Rebuilder"/> follow those that have moved, and asks upstreams now and then whether
/// theirs have. What is to be done stands in the database, so that the next round does what this one could not.
/// </summary>
internal sealed partial class BaseWatch(
    Rebuilder rebuilder,
    RebuildPolicy policy,
    UpstreamTable upstreams,
    CachedManifests copies,
    Wakeups wakeups,
    Database database,
    TimeProvider time,
    ILogger<BaseWatch> log
) : BackgroundService
{
    /// <summary>How often upstreams are asked; each tag no more often than its upstream's <c>tag-age</c> says.</summary>
    public static readonly TimeSpan ConfirmPeriod = TimeSpan.FromMinutes(10);

    // After which something that had to wait is tried again.
    private static readonly TimeSpan Pause = TimeSpan.FromMinutes(1);

    // A move that nobody could build for so long is followed no more; the next one is. What waits for others has all the time.
    private static readonly TimeSpan Patience = TimeSpan.FromDays(1);

    private const int MaxMoves = 100;

    // Tags that upstreams are asked for in one round.
    private const int MaxConfirmed = 1000;

    // The last one that was asked for; the next round goes on behind it.
    private string _confirmed = "";

    // Beside each other: an upstream that takes its time holds nothing up.
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await Task.WhenAll(FollowAsync(stoppingToken), AskAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops.
        }
    }

    private async Task FollowAsync(CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            var next = wakeups.Next(BaseMoves.Topic);
            await TryAsync(() => LookAsync(cancel), cancel);
            await wakeups.WaitAsync(next, Pause, cancel);
        }
    }

    private async Task AskAsync(CancellationToken cancel)
    {
        using var timer = new PeriodicTimer(ConfirmPeriod, time);
        while (await timer.WaitForNextTickAsync(cancel))
        {
            await TryAsync(() => ConfirmAsync(cancel), cancel);
        }
    }

    private async Task LookAsync(CancellationToken cancel)
    {
        for (
            List<MovedBase> due;
            (due = database.Read(c => MovedBase.Due(c, time.Milliseconds(), MaxMoves))).Count > 0;

        )
        {
            foreach (var moved in due)
            {
                var outcome = Following.Failed;
                await TryAsync(async () => outcome = await rebuilder.FollowAsync(moved, cancel), cancel);
                await EndAsync(moved, outcome, cancel);
            }
        }
    }

    private async Task EndAsync(MovedBase moved, Following outcome, CancellationToken cancel)
    {
        var now = time.GetUtcNow();
        var tooLate =
            outcome == Following.Failed && now - DateTimeOffset.FromUnixTimeMilliseconds(moved.Since) > Patience;
        if (tooLate)
        {
            LogGivenUp(log, moved.Name);
        }

        await database.WriteAsync(
            transaction =>
            {
                if (outcome == Following.Settled || tooLate)
                {
                    moved.Forget(transaction);
                }
                else
                {
                    moved.PutOff(transaction, (now + Pause).ToUnixTimeMilliseconds());
                }
            },
            cancel
        );
    }

    // A tag that has moved is noted as any other, when it is set here.
    private async Task ConfirmAsync(CancellationToken cancel)
    {
        var watched = database
            .Read(c =>
                c.Query(
                    """
                    SELECT DISTINCT t.base, t.base_tag, r.name FROM tag_bases t JOIN repositories r ON r.id = t.repository
                    """,
                    row => (Base: row.GetString(0), Tag: row.GetString(1), Product: row.GetString(2))
                )
            )
            .Where(row => policy(row.Product))
            .Select(row => (Name: $"{row.Base}:{row.Tag}", Base: RepositoryName.Parse(row.Base), row.Tag))
            .DistinctBy(row => row.Name)
            .Where(row => upstreams.Of(row.Base) is not null)
            .OrderBy(row => string.CompareOrdinal(row.Name, _confirmed) <= 0)
            .ThenBy(row => row.Name, StringComparer.Ordinal)
            .Take(MaxConfirmed)
            .ToList();
        foreach (var (name, repository, tag) in watched)
        {
            _confirmed = name;
            try
            {
                await copies.RefreshAsync(upstreams.Of(repository)!, repository, digest: null, Tag.Parse(tag), cancel);
            }
            catch (Exception e) when (!cancel.IsCancellationRequested)
            {
                LogNotConfirmed(log, name, e.Message);
            }
        }
    }

    private async Task TryAsync(Func<Task> work, CancellationToken cancel)
    {
        try
        {
            await work();
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            LogFault(log, e);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "Following a moved base failed; the next round tries again")]
    private static partial void LogFault(ILogger log, Exception exception);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "{Base} has moved a day ago, and not all that stands on it could be built anew since; that is given up"
    )]
    private static partial void LogGivenUp(ILogger log, string @base);

    [LoggerMessage(Level = LogLevel.Information, Message = "whether {Base} has moved could not be found out: {Why}")]
    private static partial void LogNotConfirmed(ILogger log, string @base, string why);
}
