using System.Runtime.InteropServices;
using Kiln.BuildSpec;
using Kiln.Cli.Progress;
using Kiln.Client.Builds;

namespace Kiln.Cli.Verbs;

/// <summary>
/// What Ctrl-C does to a build that is followed: on a terminal it asks; a second one, SIGTERM, and any in a pipe
/// cancel; one more after that leaves at once.
/// </summary>
internal sealed class CancelQuestion(Shell shell, IProgressView view, BuildClient builds, JobAddress job)
{
    /// <summary>Waits for <paramref name="following"/>, and acts on signals meanwhile.</summary>
    public async Task<Job> WatchAsync(Task<Job> following, Interrupts interrupts, CancellationToken cancel)
    {
        using var watching = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var canceling = false;
        var next = interrupts.NextAsync(watching.Token).AsTask();
        while (await Task.WhenAny(following, next) != following)
        {
            var signal = await next;
            next = interrupts.NextAsync(watching.Token).AsTask();
            if (canceling)
            {
                throw new CommandFailure(
                    ExitCodes.Canceled,
                    $"left before job {job.Id} had ended; it was asked to (see: kiln inspect {job})"
                );
            }

            if (signal == PosixSignal.SIGINT && CanAsk)
            {
                var yes = await AskAsync(following, next);
                if (next.IsCompleted)
                {
                    // That signal was the answer.
                    next = interrupts.NextAsync(watching.Token).AsTask();
                }

                if (!yes)
                {
                    continue;
                }
            }

            if (!following.IsCompleted)
            {
                canceling = true;
                await builds.CancelAsync(job, watching.Token);
            }
        }

        await watching.CancelAsync();
        return await following;
    }

    private bool CanAsk => shell.ErrorIsTerminal && shell.InIsTerminal;

    /// <summary>True for yes, and for another signal in place of an answer.</summary>
    private async Task<bool> AskAsync(Task following, Task nextSignal)
    {
        using var paused = view.Pause();
        await shell.Error.WriteAsync($"\nCancel job {job.Id}? [y/n] (Ctrl-C again cancels) ");
        await shell.Error.FlushAsync();
        // Reading a key cannot be called off; a thread that still waits for one does not hold the process.
        var key = Task.Run(() => Console.ReadKey(intercept: true).KeyChar);
        var first = await Task.WhenAny(key, following, nextSignal);
        var yes = first == nextSignal || (first == key && await key is 'y' or 'Y');
        await shell.Error.WriteLineAsync(yes ? "cancelling" : "");
        return yes;
    }
}
