using System.Runtime.InteropServices;
using Kiln.Node.Launchers;
using Microsoft.Extensions.Logging;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln node --run-lease DIR</c>: what the job of a batch system runs. It builds the one lease that is in DIR.</summary>
internal static class NodeJob
{
    // Linux: the batch system's word that the job's time is nearly up. SIGTERM says that it is being ended for another reason.
    private const int UserSignal1 = 10;

    public static async Task<int> RunAsync(DirectoryInfo directory, Shell shell, CancellationToken cancel)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using var timeUp = new CancellationTokenSource();
        using var terminate = OnSignal(PosixSignal.SIGTERM, stop);
        using var interrupt = OnSignal(PosixSignal.SIGINT, stop);
        using var late = OnSignal((PosixSignal)UserSignal1, timeUp);
        if (JobHandover.Take(directory.FullName) is not { } handover)
        {
            throw CommandFailure.NotPossible(
                $"there is nothing to build in {directory.FullName}: another job has taken it, or it is over"
            );
        }

        using var logs = Logs();
        await new JobRun(handover, shell.Variable, shell.Time, logs.CreateLogger<JobRun>()).RunAsync(
            timeUp.Token,
            stop.Token
        );
        return stop.IsCancellationRequested ? ExitCodes.Canceled : ExitCodes.Ok;
    }

    /// <summary>How nodes tell their operator what they do.</summary>
    public static ILoggerFactory Logs() =>
        LoggerFactory.Create(logging =>
            logging
                .AddSimpleConsole(console => console.SingleLine = true)
                .SetMinimumLevel(LogLevel.Warning)
                .AddFilter("Kiln", LogLevel.Information)
        );

    private static PosixSignalRegistration OnSignal(PosixSignal signal, CancellationTokenSource then) =>
        PosixSignalRegistration.Create(
            signal,
            context =>
            {
                context.Cancel = true;
                then.Cancel();
            }
        );
}
