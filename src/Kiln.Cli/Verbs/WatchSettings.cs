using System.CommandLine;
using System.Net;
using Kiln.Client.Credentials;
using Kiln.Node;
using Kiln.Node.Launchers;
using Kiln.Node.Notifications;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary>
/// <c>kiln node --watch-notifications</c>: builds for registries that are not Kiln, told by their webhooks what was pushed.
/// </summary>
internal sealed class WatchSettings
{
    private readonly Option<string?> _listen = new("--watch-notifications")
    {
        Description =
            "Build for registries that are not Kiln: take their notifications at this address, for example 127.0.0.1:5080.",
        HelpName = "ADDRESS:PORT",
    };

    private readonly Option<FileInfo?> _file = new("--watch-config")
    {
        Description = "Which registries are heard, and what is built for them (docs/guide/notifications.md).",
        HelpName = "FILE",
    };

    private readonly Option<bool> _open = new("--watch-without-secret")
    {
        Description = "Take notifications from other machines also of registries that send no secret.",
    };

    private WatchSettings() { }

    /// <summary>Adds the options to a command.</summary>
    public static WatchSettings On(Command command)
    {
        var settings = new WatchSettings();
        command.Add(settings._listen);
        command.Add(settings._file);
        command.Add(settings._open);
        return settings;
    }

    public bool IsOn(ParseResult parsed) => parsed.GetValue(_listen) is not null;

    /// <summary>Runs the node until a signal.</summary>
    /// <exception cref="CommandFailure">The configuration is wrong, or the machine cannot build.</exception>
    public Task<int> RunAsync(
        NodeOptions node,
        LauncherOptions launching,
        ParseResult parsed,
        Shell shell,
        CancellationToken cancel
    )
    {
        if (launching.Kind != LauncherKind.Local)
        {
            throw CommandFailure.Usage(
                "--watch-notifications builds on this machine: the jobs of a batch system need a registry that gives leases (--server)"
            );
        }

        var options = Read(node, parsed, shell);
        node = node with { BaseLogins = new BaseLogins(options.Registries) };
        return NodeRun.RunAsync(
            node,
            log => new LocalLauncher(node, shell.Time, log),
            shell,
            async (run, stop) =>
            {
                await using var watch = new NotificationWatch(options, node, run.Status, shell.Time, run.Logs);
                // First the ear, then the hands: what is told meanwhile is kept.
                await ListenAsync(watch, options, stop);
                await run.PrepareAsync("this machine cannot build: ", stop);
                await shell.Error.WriteLineAsync(
                    $"building for {string.Join(", ", options.Registries.Select(r => r.Host))}, notifications at http://{watch.Address}/notifications/NAME"
                );
                await Task.WhenAll(watch.RunAsync(stop), run.Node.RunAsync(watch.Coordinator, stop));
            },
            cancel
        );
    }

    private static async Task ListenAsync(
        NotificationWatch watch,
        NotificationOptions options,
        CancellationToken cancel
    )
    {
        try
        {
            await watch.StartAsync(cancel);
        }
        catch (Exception e) when (e is IOException or System.Net.Sockets.SocketException or UnauthorizedAccessException)
        {
            throw CommandFailure.NotPossible($"cannot listen on {options.Listen}: {e.Message}");
        }
    }

    private NotificationOptions Read(NodeOptions node, ParseResult parsed, Shell shell)
    {
        var text = parsed.GetValue(_listen)!;
        if (
            !IPEndPoint.TryParse(text.Replace("localhost:", "127.0.0.1:", StringComparison.Ordinal), out var listen)
            || !text.Contains(':', StringComparison.Ordinal)
        )
        {
            throw CommandFailure.Usage(
                $"'{text}' is not an address to listen on; write ADDRESS:PORT, for example 127.0.0.1:5080"
            );
        }

        if (parsed.GetValue(_file) is not { } file)
        {
            throw CommandFailure.Usage(
                "--watch-notifications needs --watch-config FILE, which says what registries are heard"
            );
        }

        var (options, faults) = NotificationConfiguration.Load(
            file.FullName,
            listen,
            Path.Combine(node.Directory, "notifications"),
            node.Name,
            AuthFiles.OfUser(shell.Variable)
        );
        if (faults.Count > 0)
        {
            throw CommandFailure.Usage($"the configuration is wrong:\n  {string.Join("\n  ", faults)}");
        }

        var open = options.Registries.FirstOrDefault(r => r.SecretFile is null);
        return IPAddress.IsLoopback(listen.Address) || parsed.GetValue(_open) || open is null
            ? options with
            {
                InsecureRegistries = node.InsecureRegistries,
                MaxContextBytes = node.MaxContextBytes,
            }
            : throw CommandFailure.Usage(
                $"{listen} can be reached by others, and {open.Name} has no secret-file; give it one, or listen on loopback, or say --watch-without-secret"
            );
    }
}
