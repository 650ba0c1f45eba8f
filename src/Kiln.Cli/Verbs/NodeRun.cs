using Kiln.Node;
using Kiln.Node.Launchers;
using Microsoft.Extensions.Logging;

namespace Kiln.Cli.Verbs;

/// <summary>A node in a process of its own: its directory, its log, and its end at a signal.</summary>
internal sealed class NodeRun : IDisposable
{
    private readonly ILauncher _launcher;

    private NodeRun(NodeOptions options, Func<ILogger, ILauncher> launcher, Shell shell, ILoggerFactory logs)
    {
        Logs = logs;
        var log = logs.CreateLogger<BuildNode>();
        _launcher = launcher(log);
        Node = new BuildNode(_launcher, options, Status, shell.Time, log);
    }

    public ILoggerFactory Logs { get; }
    public NodeStatus Status { get; } = new();
    public BuildNode Node { get; }

    /// <summary>Runs <paramref name="body"/> until it ends; a signal cancels the token that it gets.</summary>
    /// <param name="options">What the node was told.</param>
    /// <param name="launcher">Makes what starts its builds.</param>
    /// <param name="shell">Where it runs.</param>
    /// <param name="body">What it does.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="CommandFailure">Another node works in the same directory.</exception>
    public static async Task<int> RunAsync(
        NodeOptions options,
        Func<ILogger, ILauncher> launcher,
        Shell shell,
        Func<NodeRun, CancellationToken, Task> body,
        CancellationToken cancel
    )
    {
        using var logs = NodeJob.Logs();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using var interrupts = new Progress.Interrupts();
        var signal = StopAtSignalAsync(interrupts, stop);
        Directory.CreateDirectory(
            options.Directory,
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        );
        await using var held = Hold(options.Directory);
        using var run = new NodeRun(options, launcher, shell, logs);
        await body(run, stop.Token);
        await stop.CancelAsync();
        await signal;
        return ExitCodes.Ok;
    }

    /// <summary>Looks what can be built.</summary>
    /// <param name="fault">What stands before the reason where nothing can.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="CommandFailure">Nothing can be built.</exception>
    public async Task PrepareAsync(string fault, CancellationToken cancel)
    {
        await Node.PrepareAsync(cancel);
        if (Status.Abilities.Unavailable is { } why)
        {
            throw CommandFailure.NotPossible(fault + why);
        }
    }

    public void Dispose()
    {
        Node.Dispose();
        _launcher.Dispose();
    }

    private static async Task StopAtSignalAsync(Progress.Interrupts interrupts, CancellationTokenSource stop)
    {
        try
        {
            await interrupts.NextAsync(stop.Token);
            await stop.CancelAsync();
        }
        catch (OperationCanceledException)
        {
            // The node ended by itself.
        }
    }

    // Two nodes in one directory would clear each other's builds away.
    private static FileStream Hold(string directory)
    {
        try
        {
            return new FileStream(
                Path.Combine(directory, "node.lock"),
                FileMode.OpenOrCreate,
                FileAccess.ReadWrite,
                FileShare.None
            );
        }
        catch (IOException)
        {
            throw CommandFailure.NotPossible($"another node works in {directory}; choose another with --data");
        }
    }
}
