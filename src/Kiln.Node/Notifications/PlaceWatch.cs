using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Notifications;

/// <summary>The loops of one watched registry, so that one that is away holds up no other.</summary>
internal sealed partial class PlaceWatch(
    WatchedPlace place,
    WishSpool spool,
    WatchedBuilds builds,
    RecipeLook look,
    ProductDelivery delivery,
    NotificationOptions options,
    NodeStatus status,
    TimeProvider time,
    ILogger log
)
{
    private const int MaxLooks = 6;
    private const long ResentMilliseconds = 60_000;
    private const long ReuseMilliseconds = 24 * 3_600_000;
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan FaultPause = TimeSpan.FromSeconds(10);

    private string Name => place.Registry.Name;
    private long Now => time.GetUtcNow().ToUnixTimeMilliseconds();

    public IEnumerable<Task> Loops(CancellationToken cancel) => [LookAsync(cancel), DeliverAsync(cancel)];

    private async Task LookAsync(CancellationToken cancel)
    {
        // Before the node knows what it can build, every recipe would be refused.
        await status.Known.WaitAsync(cancel);
        await ForeverAsync(
            async () =>
            {
                var changed = spool.Changed;
                if (spool.Next(Name, Now) is { } wish)
                {
                    await LookAtAsync(wish, cancel);
                }
                else
                {
                    await Wakeup.WaitAsync(changed, spool.NextDue(Name), time, cancel);
                }
            },
            cancel
        );
    }

    private async Task LookAtAsync(Wish wish, CancellationToken cancel)
    {
        try
        {
            switch (await look.LookAsync(wish, cancel))
            {
                // Ordinary: some tell of a push a little before it can be seen.
                case Finding.NotYet when wish.Tries < MaxLooks:
                    PutOff(wish, Pause * Math.Pow(2, wish.Tries));
                    break;
                // Two pushes may be told of in the wrong order, and the later word took the place of the other.
                case Finding.NotYet when wish is { Tag: not null, Digest: not null }:
                    spool.Replace(wish, wish with { Digest = null, Tries = 0 });
                    break;
                case Finding.NotYet { Why: var why }:
                    Drop(wish, why);
                    break;
                case Finding.Nothing { Why: var why, Tell: var tell }:
                    spool.Remove(wish);
                    if (tell)
                    {
                        LogIgnored(log, wish.ToString(), why);
                    }

                    break;
                case Finding.Recipe { Build: var build }:
                    await BuildAsync(wish, build, cancel);
                    break;
            }
        }
        catch (RegistryException e) when (e.Fault != RegistryFault.Broken && !IsGivenUp(wish.Received))
        {
            PutOff(wish, Backoff(wish.Tries), e.Message);
        }
        catch (Exception e) when (e is RegistryException or FormatException or OciException)
        {
            Drop(wish, e.Message);
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            LogFault(log, wish.ToString(), e);
            PutOff(wish, Backoff(wish.Tries), e.Message);
        }
    }

    private async Task BuildAsync(Wish wish, WatchedBuild build, CancellationToken cancel)
    {
        if (await DuplicateAsync(wish, build, cancel) is { } duplicate)
        {
            LogIgnored(log, wish.ToString(), duplicate);
            spool.Remove(wish);
            return;
        }

        if (builds.NotBefore(Name, build.Repository, place.Registry.BuildsPerHour, Now) is { } later)
        {
            LogTooMany(log, build.Repository, Name, place.Registry.BuildsPerHour);
            spool.Replace(wish, wish with { NotBefore = later });
            return;
        }

        builds.Add(build);
        spool.Remove(wish);
        LogQueued(log, build.Id, wish.ToString(), string.Join(", ", build.Tags));
    }

    // Registries send again what they are not sure of, and one push may be told in several ways.
    private async Task<string?> DuplicateAsync(Wish wish, WatchedBuild build, CancellationToken cancel)
    {
        var same = builds.All.Where(other =>
            (other.Registry, other.Repository, other.Recipe.Digest) == (Name, build.Repository, build.Recipe.Digest)
        );
        foreach (var other in same.Reverse())
        {
            if (other.Finished is null)
            {
                return $"build {other.Id} of that recipe is under way";
            }

            if (
                other.State == BuildStates.Succeeded
                && other.Tags.SequenceEqual(build.Tags, StringComparer.Ordinal)
                && other.Created > Now - ReuseMilliseconds
                && await look.IsThereAsync(other, cancel)
            )
            {
                return $"build {other.Id} has delivered that recipe";
            }

            if (
                other.State == BuildStates.Failed
                && (
                    (wish.Event is not null && wish.Event == other.Event)
                    || wish.Received < other.Created + ResentMilliseconds
                )
            )
            {
                return $"build {other.Id} of that recipe has failed";
            }
        }

        return null;
    }

    private Task DeliverAsync(CancellationToken cancel) =>
        ForeverAsync(
            async () =>
            {
                var changed = builds.Changed;
                var open = builds.Undelivered.Where(build => build.Registry == Name).ToList();
                if (open.Find(build => build.NotBefore <= Now) is { } build)
                {
                    await DeliverAsync(build, cancel);
                }
                else
                {
                    await Wakeup.WaitAsync(changed, open.Min(b => (long?)b.NotBefore), time, cancel);
                }
            },
            cancel
        );

    private async Task DeliverAsync(WatchedBuild build, CancellationToken cancel)
    {
        try
        {
            if (build.State == BuildStates.Failed || !IsWhole(build))
            {
                await FailAsync(build, cancel);
                return;
            }

            var (index, refusal) = await delivery.PublishAsync(build, cancel);
            if (refusal is not null)
            {
                Fail(build, FailureReasons.PolicyDenied, refusal);
                return;
            }

            builds.NoteOwn([index]);
            builds.Change(build.Id, b => b with { State = BuildStates.Succeeded, Result = index, Finished = Now });
            LogPublished(
                log,
                build.Id,
                place.Of(build.Repository).ToString(),
                index!.ToString(),
                string.Join(", ", build.Tags)
            );
        }
        catch (RegistryException e)
            when (WatchedPlace.IsAway(e) && !IsGivenUp(build.Tasks.Max(t => t.Finished) ?? build.Created))
        {
            LogAway(log, Name, e.Message);
            builds.Change(
                build.Id,
                b => b with { Tries = b.Tries + 1, NotBefore = Now + (long)Backoff(b.Tries).TotalMilliseconds }
            );
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            if (e is not RegistryException)
            {
                LogFault(log, build.Id, e);
            }

            if (build.State == BuildStates.Failed)
            {
                LogUntold(log, build.Id, e.Message);
                builds.Change(build.Id, b => b with { Finished = Now });
            }
            else
            {
                var denied = e is RegistryException { Fault: RegistryFault.NotAllowed or RegistryFault.Refused };
                Fail(build, denied ? FailureReasons.PolicyDenied : FailureReasons.SystemError, e.Message);
            }
        }
    }

    private async Task FailAsync(WatchedBuild build, CancellationToken cancel)
    {
        if (build.State != BuildStates.Failed)
        {
            var first = build.Tasks.FirstOrDefault(task => task.State == BuildStates.Failed);
            build = Fail(build, first?.Reason ?? FailureReasons.SystemError, first?.Message ?? "nothing was built");
        }

        if (place.Registry.AttachFailures)
        {
            await delivery.TellFailureAsync(build, cancel);
        }

        builds.Change(build.Id, b => b with { Finished = Now });
        LogFailed(log, build.Id, place.Of(build.Repository).ToString(), build.Reason ?? "", build.Message ?? "");
    }

    private WatchedBuild Fail(WatchedBuild build, string reason, string message) =>
        builds.Change(build.Id, b => b with { State = BuildStates.Failed, Reason = reason, Message = message });

    private void PutOff(Wish wish, TimeSpan pause, string? why = null)
    {
        if (wish.Tries == 0 && why is not null)
        {
            LogPutOff(log, wish.ToString(), why);
        }

        spool.Replace(wish, wish with { Tries = wish.Tries + 1, NotBefore = Now + (long)pause.TotalMilliseconds });
    }

    private void Drop(Wish wish, string why)
    {
        spool.Remove(wish);
        LogDropped(log, wish.ToString(), why);
    }

    private static bool IsWhole(WatchedBuild build) =>
        build.Succeeded.Any() && (build.Partial || build.Succeeded.Count() == build.Tasks.Count);

    // Whatever happens to one of them, the loop goes on: nobody would see that it has ended.
    private async Task ForeverAsync(Func<Task> round, CancellationToken cancel)
    {
        while (true)
        {
            try
            {
                await round();
            }
            catch (Exception e) when (!cancel.IsCancellationRequested)
            {
                LogFault(log, Name, e);
                await Task.Delay(FaultPause, time, cancel);
            }
        }
    }

    private bool IsGivenUp(long since) => Now - since > options.Patience.TotalMilliseconds;

    private static TimeSpan Backoff(int tries)
    {
        var pause = Pause * Math.Pow(2, Math.Min(tries, 16));
        return pause < LongestPause ? pause : LongestPause;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Build {Build} queued for {Recipe}, to deliver {Tags}")]
    private static partial void LogQueued(ILogger log, string build, string recipe, string tags);

    [LoggerMessage(Level = LogLevel.Information, Message = "Build {Build} is {Repository}@{Digest}, tags {Tags}")]
    private static partial void LogPublished(ILogger log, string build, string repository, string digest, string tags);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Build {Build} of {Repository} failed, {Reason}: {Why}")]
    private static partial void LogFailed(ILogger log, string build, string repository, string reason, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "Nothing is built for {Recipe}: {Why}")]
    private static partial void LogIgnored(ILogger log, string recipe, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Recipe} is looked at later: {Why}")]
    private static partial void LogPutOff(ILogger log, string recipe, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The notification of {Recipe} is dropped: {Why}")]
    private static partial void LogDropped(ILogger log, string recipe, string why);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "{Repository} of {Name} had {Limit} builds within an hour, which is its limit; the next ones wait"
    )]
    private static partial void LogTooMany(ILogger log, string repository, string name, int limit);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Products wait for {Name}: {Why}")]
    private static partial void LogAway(ILogger log, string name, string why);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "The log of build {Build} was not attached to its recipe: {Why}"
    )]
    private static partial void LogUntold(ILogger log, string build, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "{What} met a fault")]
    private static partial void LogFault(ILogger log, string what, Exception exception);
}
