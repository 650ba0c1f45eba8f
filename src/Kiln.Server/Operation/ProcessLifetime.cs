using System.Runtime.InteropServices;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Operation;

/// <summary>
/// From start to end as the world outside sees it. SIGTERM and SIGINT: the server says that it is not ready, after the delay it
/// stops listening, and what runs may finish within the limit. A second signal ends the process at once.
/// </summary>
internal sealed partial class ProcessLifetime(
    IHostApplicationLifetime host,
    Health health,
    OperationOptions options,
    Systemd systemd,
    TimeProvider time,
    ILogger<ProcessLifetime> log
) : IHostLifetime, IDisposable
{
    private const int SignalExit = 128;
    private const int Terminate = 15;
    private const int Interrupt = 2;

    private readonly List<PosixSignalRegistration> _signals = [];
    private readonly CancellationTokenSource _ended = new();
    private int _asked;

    public Task WaitForStartAsync(CancellationToken cancellationToken)
    {
        _signals.Add(PosixSignalRegistration.Create(PosixSignal.SIGTERM, c => End(c, Terminate)));
        _signals.Add(PosixSignalRegistration.Create(PosixSignal.SIGINT, c => End(c, Interrupt)));
        // Access/Connections/Reloading reads the files at the same signal; it is done when this returns, or all but.
        _signals.Add(
            PosixSignalRegistration.Create(
                PosixSignal.SIGHUP,
                c =>
                {
                    c.Cancel = true;
                    systemd.Reloading();
                    systemd.Ready();
                }
            )
        );
        host.ApplicationStarted.Register(() =>
        {
            systemd.Ready();
            _ = KeepAliveAsync();
        });
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken)
    {
        _ended.Cancel();
        return Task.CompletedTask;
    }

    public void Dispose()
    {
        _signals.ForEach(s => s.Dispose());
        _ended.Dispose();
    }

    private void End(PosixSignalContext context, int number)
    {
        // Ours: the runtime would end the process.
        context.Cancel = true;
        if (Interlocked.Increment(ref _asked) > 1)
        {
            LogAtOnce(log);
            Exit(SignalExit + number);
        }

        health.IsStopping = true;
        systemd.Stopping();
        LogStopping(log, options.StopDelay + options.StopTimeout);
        _ = StopAsync();
    }

    private async Task StopAsync()
    {
        await Task.Delay(options.StopDelay, time);
        host.StopApplication();
    }

    private async Task KeepAliveAsync()
    {
        if (systemd.Interval is not { } interval)
        {
            return;
        }

        using var timer = new PeriodicTimer(interval, time);
        try
        {
            do
            {
                systemd.Alive();
            } while (await timer.WaitForNextTickAsync(_ended.Token));
        }
        catch (OperationCanceledException)
        {
            // The server has stopped.
        }
    }

    // Not Environment.Exit: that waits for whatever was just found to take too long.
    [LibraryImport("libc", EntryPoint = "_exit")]
    private static partial void Exit(int code);

    [LoggerMessage(
        Level = LogLevel.Information,
        Message = "stopping: what runs may finish within {Limit}; a second signal ends it at once"
    )]
    private static partial void LogStopping(ILogger log, TimeSpan limit);

    [LoggerMessage(Level = LogLevel.Warning, Message = "a second signal: ending at once")]
    private static partial void LogAtOnce(ILogger log);
}
