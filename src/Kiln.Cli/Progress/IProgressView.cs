using Kiln.BuildSpec;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>Shows a build under way. Calls come from one flow at a time.</summary>
internal interface IProgressView : IDisposable
{
    /// <summary>The registry took the job.</summary>
    void Accepted(Job job);

    /// <summary>New log text of a task; may end in the middle of a line.</summary>
    void Log(JobTask task, string text);

    /// <summary>A task's new state, phase or steps.</summary>
    void State(JobTask task, TaskProgress progress);

    /// <summary>A task ended, as it says of itself, and all of its log has come.</summary>
    void Ended(JobTask task);

    /// <summary>The job ended.</summary>
    void Finished(Job job);

    /// <summary>Stops drawing until the answer is disposed, so that a question can be asked.</summary>
    IDisposable Pause();
}

/// <summary>How progress is to be shown: <c>--progress</c>.</summary>
internal static class ProgressModes
{
    public const string Auto = "auto";
    public const string Plain = "plain";
    public const string Terminal = "tty";

    public static IProgressView View(string mode, bool json, Shell shell) =>
        json ? new JsonView(shell.Out)
        : mode == Terminal || (mode == Auto && shell.ErrorIsTerminal) ? new TerminalView(shell)
        : new PlainView(shell.Error);
}
