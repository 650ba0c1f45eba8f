using System.CommandLine;
using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Transport;
using Kiln.Node;
using Kiln.Node.Launchers;
using Kiln.Node.Remote;

namespace Kiln.Cli.Verbs;

/// <summary>
/// <c>kiln node</c>: builds for a registry that is somewhere else. It only dials out; for registries that cannot build
/// themselves it hears their notifications instead (<see cref="WatchSettings"/>).
/// </summary>
internal static class NodeVerb
{
    private static readonly Option<string?> Server = new("--server")
    {
        Description = "The registry to build for, for example https://registry.example.org.",
        HelpName = "URL",
    };

    private static readonly Option<FileInfo?> Token = new("--token-file")
    {
        Description = "A file with the node's token (kiln token issue … --action lease), or with USER:PASSWORD.",
        HelpName = "FILE",
    };

    private static readonly Option<string> Name = new("--name")
    {
        Description = "What the node calls itself; who it is, its token says.",
        HelpName = "NAME",
        DefaultValueFactory = _ => Environment.MachineName,
    };

    private static readonly Option<string[]> Labels = new("--label")
    {
        Description = "Something else to say of the node.",
        HelpName = "KEY=VALUE",
    };

    private static readonly Option<bool> UnsafeBuilds = new("--unsafe-builds")
    {
        Description = "Build even where this machine cannot keep a build apart from the node's own account.",
    };

    private static readonly Option<bool> SingleId = new("--single-id")
    {
        Description = "Build with one user id, by root emulation, also where there are subordinate ids.",
    };

    private static readonly Option<bool> HostNetwork = new("--allow-host-network")
    {
        Description = "Build what asks for the host's network.",
    };

    private static readonly Option<string> Emulation = new("--emulation")
    {
        Description = "Whether to build for platforms that this machine has to emulate.",
        HelpName = "allowed|denied",
        DefaultValueFactory = _ => EmulationModes.Allowed,
    };

    private static readonly Option<string> ApptainerRoot = new("--apptainer-root")
    {
        Description = "A root file system with Apptainer in it, where the machine's own has none.",
        HelpName = "DIR",
    };

    private static readonly Option<bool> Probe = new("--probe")
    {
        Description = "Say what this machine is, what it could build and what it lacks, and end.",
    };

    private static readonly Option<bool> Json = new("--json") { Description = "With --probe: as JSON." };

    static NodeVerb() => Emulation.AcceptOnlyFromAmong(EmulationModes.Allowed, EmulationModes.Denied);

    public static Command Create(Shell shell)
    {
        var data = new Option<string>("--data")
        {
            Description = "The directory for bases, cached steps and builds under way.",
            HelpName = "DIR",
            DefaultValueFactory = _ => DefaultData(shell.Variable),
        };
        var insecure = Connection.InsecureOption();
        var command = new Command("node", "Build for a registry that is somewhere else.")
        {
            Server,
            Token,
            data,
            Name,
            Labels,
            UnsafeBuilds,
            SingleId,
            HostNetwork,
            Emulation,
            ApptainerRoot,
            Probe,
            Json,
            insecure,
        };
        var limits = NodeLimits.On(command);
        var launching = LauncherSettings.On(command);
        var watch = WatchSettings.On(command);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    () =>
                    {
                        if (launching.JobOf(parsed) is { } job)
                        {
                            return NodeJob.RunAsync(job, shell, cancel);
                        }

                        var directory = Path.GetFullPath(parsed.GetRequiredValue(data));
                        var (node, server) = Read(parsed, directory, parsed.GetValue(insecure) ?? []);
                        node = limits.Apply(node, parsed);
                        TokenFile.Warn(parsed.GetValue(Token), shell);
                        if (parsed.GetValue(Probe))
                        {
                            return NodeProbe.RunAsync(node, parsed.GetValue(Json), shell, cancel);
                        }

                        var launcher = launching.Read(parsed, limits);
                        return (server, watch.IsOn(parsed)) switch
                        {
                            ({ } remote, false) => RunAsync(node, launcher, remote, shell, cancel),
                            (null, true) => watch.RunAsync(node, launcher, parsed, shell, cancel),
                            _ => throw CommandFailure.Usage(
                                "say for whom to build: either --server URL, a registry that builds, or --watch-notifications ADDRESS:PORT"
                            ),
                        };
                    }
                )
        );
        return command;
    }

    private static (NodeOptions Node, RemoteServer? Remote) Read(
        ParseResult parsed,
        string directory,
        IReadOnlyList<string> insecure
    )
    {
        var (host, plain) = parsed.GetValue(Server) is { } server ? HostOf(server) : (null, false);
        string[] spoken = [.. insecure, .. plain ? new[] { host! } : []];
        var node = new NodeOptions
        {
            Directory = directory,
            Name = parsed.GetRequiredValue(Name),
            Labels = LabelsOf(parsed.GetValue(Labels) ?? []),
            Unsafe = parsed.GetValue(UnsafeBuilds),
            SingleId = parsed.GetValue(SingleId),
            AllowHostNetwork = parsed.GetValue(HostNetwork),
            AllowEmulation = parsed.GetValue(Emulation) == EmulationModes.Allowed,
            ApptainerRoot = parsed.GetValue(ApptainerRoot),
            InsecureRegistries = spoken,
        };
        var remote = host is null
            ? null
            : new RemoteServer
            {
                Host = host,
                Login = parsed.GetValue(Token) is { } file ? TokenFile.LoginOf(host, file) : null,
                InsecureRegistries = spoken,
                Spool = Path.Combine(directory, "spool"),
            };
        return (node, remote);
    }

    private static Task<int> RunAsync(
        NodeOptions options,
        LauncherOptions launching,
        RemoteServer remote,
        Shell shell,
        CancellationToken cancel
    ) =>
        NodeRun.RunAsync(
            launching.Kind == LauncherKind.Local ? options : options with { Concurrency = launching.Jobs },
            log => LauncherSettings.Make(launching, options, remote, shell.Time, log),
            shell,
            async (run, stop) =>
            {
                using var coordinator = new HttpCoordinator(remote, shell.Time);
                await run.PrepareAsync(launching.Kind == LauncherKind.Local ? "this machine cannot build: " : "", stop);
                try
                {
                    await run.Node.RunAsync(
                        coordinator,
                        () => shell.Error.WriteLine($"building for {remote.Host} as {options.Name}"),
                        stop
                    );
                }
                catch (RegistryException e) when (e.Fault == RegistryFault.NotAllowed)
                {
                    throw CommandFailure.Usage($"{e.Message}. {TokenFile.Advice(remote.Login is not null)}");
                }
            },
            cancel
        );

    private static (string Host, bool Plain) HostOf(string server)
    {
        if (!server.Contains("://", StringComparison.Ordinal))
        {
            return (server.TrimEnd('/'), false);
        }

        return
            Uri.TryCreate(server, UriKind.Absolute, out var uri)
            && uri.Scheme is "http" or "https"
            && uri.PathAndQuery == "/"
            && uri.UserInfo.Length == 0
            ? uri.Scheme == "https" && RegistryAddress.IsLoopback(uri.Authority)
                ? throw CommandFailure.Usage(
                    $"'{server}': loopback is spoken to without TLS; write http://HOST:PORT, or the name in the registry's certificate"
                )
                : (uri.Authority, uri.Scheme == "http")
            : throw CommandFailure.Usage($"'{server}' is not the address of a registry, http[s]://HOST[:PORT]");
    }

    private static Dictionary<string, string>? LabelsOf(IReadOnlyList<string> labels) =>
        labels.Count == 0
            ? null
            : labels
                .Select(label => label.Split('=', 2))
                .ToDictionary(
                    parts => parts[0],
                    parts =>
                        parts.Length == 2
                            ? parts[1]
                            : throw CommandFailure.Usage($"the label '{parts[0]}' has no value; write KEY=VALUE"),
                    StringComparer.Ordinal
                );

    // Beside a server's directory, not in it.
    private static string DefaultData(Func<string, string?> variable) =>
        variable("XDG_DATA_HOME") is { Length: > 0 } data
            ? Path.Combine(data, "kiln-node")
            : Path.Combine(variable("HOME") is { Length: > 0 } home ? home : "/", ".local", "share", "kiln-node");
}
