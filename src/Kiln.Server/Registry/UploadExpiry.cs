using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Registry;

/// <summary>
/// Ends abandoned uploads, at the start and then every hour ("unfinished uploads SHOULD time out", distribution-spec).
/// </summary>
internal sealed partial class UploadExpiry(Uploads uploads, TimeProvider time, ILogger<UploadExpiry> log)
    : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromHours(1);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            do
            {
                var discarded = await uploads.ExpireAsync(stoppingToken);
                if (discarded > 0)
                {
                    LogExpired(log, discarded);
                }
            } while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The server stops.
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "threw away {Count} abandoned uploads")]
    private static partial void LogExpired(ILogger log, int count);
}
