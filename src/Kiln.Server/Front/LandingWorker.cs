using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Oci;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry.Upstreams;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Front;

/// <summary>
/// Brings products to the registry behind, and ends their jobs when they are there. While it has no answer, they are tried
/// again at growing intervals, for as long as the operator says; what it refuses, a few times.
/// </summary>
internal sealed partial class LandingWorker(
    Landings landings,
    ProductCopy copy,
    FrontGauges gauges,
    Settlement settlement,
    Wakeups wakeups,
    Database database,
    RegistryBehind behind,
    ServerOptions options,
    TimeProvider time,
    ILogger<LandingWorker> log
) : BackgroundService
{
    private const int AtOnce = 2;
    private const int MaxRefusals = 3;
    private static readonly TimeSpan Look = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongLook = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(2);

    /// <summary>What is watched of the front, for as long as there is one.</summary>
    public FrontGauges Gauges { get; } = gauges;

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        await landings.ReleaseAsync(cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(Enumerable.Range(0, AtOnce).Select(_ => RunAsync(stoppingToken)));

    private async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                var next = wakeups.Next(Landings.Topic);
                if (await landings.TakeAsync(stop) is { } landing)
                {
                    await LandAsync(landing, stop);
                    continue;
                }

                // One that failed has its turn again without a wake-up.
                await wakeups.WaitAsync(next, landings.Any() ? Look : LongLook, stop);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // A database that is away for a moment must not end the registry.
                LogFault(log, e);
                await Task.Delay(Look, time, CancellationToken.None);
            }
        }
    }

    private async Task LandAsync(Landing landing, CancellationToken stop)
    {
        var job = database.Read(c => JobRow.Find(c, landing.Job));
        if (job is null || job.Finished is not null)
        {
            await landings.DropAsync(landing, stop);
            return;
        }

        using var ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        var beating = BeatAsync(landing, ended.Token);
        try
        {
            var index = await copy.CopyAsync(job, stop);
            if (!await landings.BeginTaggingAsync(landing, stop))
            {
                await landings.DropAsync(landing, stop);
                return;
            }

            var forbidden = await copy.TagAsync(job, index, stop);
            await EndAsync(landing, forbidden is null ? null : FailureReasons.PolicyDenied, forbidden);
        }
        catch (RegistryException e)
        {
            await AgainAsync(landing, e);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            LogFault(log, e);
            await EndAsync(
                landing,
                FailureReasons.SystemError,
                $"the image was built, but could not be brought to {behind.Host}: this is a fault of this server, whose log has the details"
            );
        }
        finally
        {
            await ended.CancelAsync();
            await beating;
        }
    }

    private async Task AgainAsync(Landing landing, RegistryException e)
    {
        var refused = !Upstream.IsOutage(e);
        var waited = TimeSpan.FromMilliseconds(time.Milliseconds() - landing.Since);
        LogAgain(log, landing.Job, landing.Tries, behind.Host, e.Message);
        if (refused ? landing.Refusals + 1 >= MaxRefusals : waited >= options.Front.LandingTime)
        {
            await EndAsync(
                landing,
                e.Fault == RegistryFault.NotAllowed ? FailureReasons.PolicyDenied : FailureReasons.SystemError,
                refused
                    ? $"the image was built, but {behind.Host} refuses it ({e.Message}); if this server's login may not push there, its operator has to give it one that may"
                    : $"the image was built, but {behind.Host} has had no answer for {waited.TotalSeconds:0} s ({e.Message}); ask for the build again when it has"
            );
            return;
        }

        var pause = FirstPause * Math.Pow(2, Math.Min(landing.Tries - 1, 10));
        pause = e.RetryAfter is { } asked && asked > pause ? asked : pause;
        pause = pause < LongestPause ? pause : LongestPause;
        FrontMeters.Landings.Add(1, new KeyValuePair<string, object?>("outcome", "again"));
        await database.WriteAsync(
            transaction =>
                landings.Again(
                    transaction,
                    landing,
                    pause,
                    refused,
                    $"the image is built and on its way to {behind.Host}, which has not taken it yet ({e.Why}); the next try is in {pause.TotalSeconds:0} s"
                ),
            CancellationToken.None
        );
    }

    private async Task EndAsync(Landing landing, string? reason, string? message)
    {
        FrontMeters.Landings.Add(1, new KeyValuePair<string, object?>("outcome", reason is null ? "landed" : "failed"));
        await database.WriteAsync(
            transaction =>
            {
                Landings.End(transaction, landing.Job, reason, message);
                settlement.Settle(transaction, landing.Job);
            },
            CancellationToken.None
        );
    }

    private async Task BeatAsync(Landing landing, CancellationToken cancel)
    {
        try
        {
            while (true)
            {
                await Task.Delay(Landings.Beat, time, cancel);
                await landings.BeatAsync(landing, cancel);
            }
        }
        catch (OperationCanceledException)
        {
            // It is over.
        }
        catch (Exception e)
        {
            // Another server may take it over: both bring the same.
            LogFault(log, e);
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "job {Job}: try {Try} to bring its image to {Host} failed: {Why}"
    )]
    private static partial void LogAgain(ILogger log, string job, long @try, string host, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "bringing images to the registry behind met a fault")]
    private static partial void LogFault(ILogger log, Exception exception);
}
