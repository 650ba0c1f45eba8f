using System.CommandLine;
using Kiln.Node;
using Kiln.Node.Launchers;
using Kiln.Node.Remote;
using Kiln.Server;
using Microsoft.Extensions.Logging;

namespace Kiln.Cli.Verbs;

/// <summary>The options of <c>kiln node</c> that say what starts its builds, and the file with what may be started.</summary>
internal sealed class LauncherSettings
{
    private readonly Option<string?> _launcher = new("--launcher")
    {
        Description =
            "What starts the builds: local (this process), slurm, or command (the site's own). [default: local]",
        HelpName = "KIND",
    };

    private readonly Option<FileInfo?> _config = new("--config")
    {
        Description = "The file with the kinds of machines that builds may be started on.",
        HelpName = "FILE",
    };

    private readonly Option<DirectoryInfo?> _job = new("--run-lease")
    {
        Description = "Build the one lease that a launching node has put there, then end. For jobs of batch systems.",
        HelpName = "DIR",
        Hidden = true,
    };

    /// <summary>Adds the options to a command.</summary>
    public static LauncherSettings On(Command command)
    {
        var settings = new LauncherSettings();
        command.Add(settings._launcher);
        command.Add(settings._config);
        command.Add(settings._job);
        return settings;
    }

    /// <summary>The directory of the one lease to build; null where the node is no job.</summary>
    public DirectoryInfo? JobOf(ParseResult parsed) => parsed.GetValue(_job);

    /// <summary>What the file and the command line say together.</summary>
    /// <exception cref="CommandFailure">Something is wrong; the message says all of it.</exception>
    public LauncherOptions Read(ParseResult parsed, NodeLimits limits)
    {
        var (options, faults) = NodeConfiguration.Load(parsed.GetValue(_config)?.FullName, parsed.GetValue(_launcher));
        return faults.Count == 0
            ? limits.Given(parsed) is { } jobs
                ? options with
                {
                    Jobs = jobs,
                }
                : options
            : throw CommandFailure.Usage($"the configuration is wrong:\n  {string.Join("\n  ", faults)}");
    }

    /// <summary>What starts the builds.</summary>
    public static ILauncher Make(
        LauncherOptions launching,
        NodeOptions node,
        RemoteServer remote,
        TimeProvider time,
        ILogger log
    ) =>
        launching.Kind == LauncherKind.Local
            ? new LocalLauncher(node with { OtherDisk = launching.Scratch ?? node.OtherDisk }, time, log)
            : new BatchLauncher(launching, node, remote, time, log);
}
