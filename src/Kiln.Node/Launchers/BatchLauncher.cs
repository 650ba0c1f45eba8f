using Kiln.BuildSpec;
using Kiln.Node.Deriving;
using Kiln.Node.Launchers.Command;
using Kiln.Node.Launchers.Slurm;
using Kiln.Node.Remote;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Launchers;

/// <summary>
/// Has builds done by jobs of a batch system, which schedules, accounts and kills. No build runs here, and no more than its
/// operator has listed can be asked for.
/// </summary>
public sealed partial class BatchLauncher : ILauncher
{
    /// <summary>What every job's name begins with; the lease's id follows.</summary>
    public const string NamePrefix = "kiln-";

    private readonly LauncherOptions _options;
    private readonly NodeOptions _node;
    private readonly RemoteServer _remote;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly IBatchSystem _system;
    private readonly BatchDesk _desk;
    private readonly string _folders;
    private readonly IReadOnlyList<NodeType> _types;
    private readonly CancellationTokenSource _over = new();
    private Task _speaking = Task.CompletedTask;

    public BatchLauncher(LauncherOptions options, NodeOptions node, RemoteServer remote, TimeProvider time, ILogger log)
    {
        (_options, _node, _remote, _time, _log) = (options, node, remote, time, log);
        _system = options.Kind == LauncherKind.Slurm ? new SlurmSystem() : new CommandSystem(options);
        _desk = new BatchDesk(_system, options.Interval, options.MaxWait, time, log);
        _folders = Path.Combine(Path.GetFullPath(node.Directory), "jobs");
        _types = node.AllowEmulation ? options.Types : [.. options.Types.Select(type => type with { Emulates = [] })];
    }

    public async Task<NodeAbilities> PrepareAsync(CancellationToken cancel)
    {
        if (await _system.UnavailableAsync(cancel) is { } why)
        {
            return NodeAbilities.None(why);
        }

        LogReady(_log, _system.Name, string.Join(", ", _types.Select(t => t.Name)));
        var formats = _types.Any(type => type.Outputs is null)
            ? (await Derivation.FormatsAsync(_node.Directory, _log, cancel)).Formats
            : [];
        return AbilitiesOf([.. _types.SelectMany(type => TypeChoice.Offer(type, formats))]) with
        {
            LeaseSeconds = _options.LeaseSeconds,
        };
    }

    // For registries that know only the members of a claim itself: what the types have between them.
    private static NodeAbilities AbilitiesOf(IReadOnlyList<OfferedType> types)
    {
        IReadOnlyList<string> Union(Func<OfferedType, IReadOnlyList<string>?> of) =>
            [.. types.SelectMany(type => of(type) ?? []).Distinct(StringComparer.Ordinal)];

        return new NodeAbilities
        {
            Engines = [],
            Platforms = [.. Union(t => t.Platforms).Select(Platform.Parse)],
            EmulatedPlatforms = [.. Union(t => t.EmulatedPlatforms).Select(Platform.Parse)],
            Microarchitectures = Union(t => t.Microarchitectures),
            RecipeTypes = [.. Union(t => t.Recipes).Where(r => r != RecipeTypes.Image)],
            Outputs = Union(t => t.Outputs),
            Networks = Union(t => t.Networks),
            Resources = BuildResources.Most(types.Select(t => t.Resources!)),
            Types = types,
        };
    }

    public IReadOnlyList<ResumedBuild> Resume(IBuildCoordinator coordinator, CancellationToken stop)
    {
        _speaking = _desk.RunAsync(_over.Token);
        var left = LaunchFolder.Left(_folders);
        if (left.Count > 0)
        {
            LogFound(_log, left.Count);
        }

        return
        [
            .. left.Select(folder => new ResumedBuild(folder.Record.Lease, ResumeAsync(folder, coordinator, stop))),
        ];
    }

    public async Task RunAsync(Lease lease, IBuildCoordinator coordinator, CancellationToken stop)
    {
        var (shape, refusal) = TypeChoice.Choose(_types, lease.Task);
        if (shape is null)
        {
            await coordinator.CompleteAsync(
                lease,
                new LeaseResult
                {
                    State = BuildStates.Failed,
                    Reason = FailureReasons.NoBuilder,
                    Message = refusal,
                },
                stop
            );
            return;
        }

        var now = _time.GetUtcNow();
        var record = new LaunchRecord
        {
            Lease = lease with { Task = lease.Task with { Secrets = null } },
            Type = shape.Type.Name,
            Begun = now,
        };
        var folder = LaunchFolder.Create(_folders, record, HandoverOf(lease, shape), Script);
        await LiveAsync(folder, TicketOf(folder, shape), coordinator, stop);
    }

    public void Dispose()
    {
        if (!_over.IsCancellationRequested)
        {
            _over.Cancel();
            _over.Dispose();
        }
    }

    // Secrets are not in the record: a build that was never submitted is submitted with what lies there for its job.
    private async Task ResumeAsync(LaunchFolder folder, IBuildCoordinator coordinator, CancellationToken stop)
    {
        var record = folder.Record;
        // What lies there for the job is of that type: where there is none any more, or another of that name, what is with the
        // batch system is awaited, and what is not goes back to the registry.
        var type = _types.Where(t => t.Name == record.Type).ToList();
        var (shape, _) = type.Count == 0 ? (null, null) : TypeChoice.Choose(type, record.Lease.Task);
        var ticket = TicketOf(folder, shape);
        ticket.HasRun = !folder.IsUntouched;
        if (record.Job is { } job)
        {
            ticket.Remember(job);
        }
        else
        {
            ticket.DoubtfulSince = _time.GetUtcNow();
        }

        await LiveAsync(folder, ticket, coordinator, stop);
    }

    private Task LiveAsync(
        LaunchFolder folder,
        BatchTicket ticket,
        IBuildCoordinator coordinator,
        CancellationToken stop
    ) => new LaunchedBuild(folder, ticket, _desk, coordinator, _system.Name, _time, _log).RunAsync(stop);

    private static BatchTicket TicketOf(LaunchFolder folder, JobShape? shape) =>
        new(
            new BatchOrder(NamePrefix + folder.Record.Lease.Id, shape, folder.Script, folder.Output)
            {
                Unsubmittable =
                    $"it was for the type '{folder.Record.Type}', of which this node has none any more that fits the build",
            },
            folder.Record.Begun
        )
        {
            Became = folder.Became,
            IsUntouched = () => folder.IsUntouched,
        };

    private JobHandover HandoverOf(Lease lease, JobShape shape) =>
        new()
        {
            Lease = lease with { Task = lease.Task with { TimeoutSeconds = shape.Seconds } },
            Server = _remote.Host,
            InsecureRegistries = _remote.InsecureRegistries,
            Type = shape.Type.Name,
            IsEmulated = shape.IsEmulated,
            Scratch = _options.Scratch,
            MemoryBytes = shape.MemoryBytes,
            DiskBytes = shape.Type.DiskBytes,
            Processes = _node.Processes,
            MaxContextBytes = _node.MaxContextBytes,
            Unsafe = _node.Unsafe,
            SingleId = _node.SingleId,
            AllowHostNetwork = _node.AllowHostNetwork,
            ApptainerRoot = _node.ApptainerRoot,
        };

    // What batch systems show to everybody: nothing in it is secret.
    private string Script(string directory)
    {
        var program = _options.Program.Count > 0 ? _options.Program : OwnProgram();
        var command = string.Join(' ', program.Concat(["node", "--run-lease", directory]).Select(Quote));
        return $$"""
            #!/bin/sh
            # A build of Kiln. What it builds, and with which credential, is in a file that only its owner can read.
            PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
            HOME=${HOME:-/}
            export PATH HOME
            {{_options.Setup}}
            exec {{command}}

            """;
    }

    // The native file, or the program that runs it and what it runs.
    private static IReadOnlyList<string> OwnProgram()
    {
        var process = Environment.ProcessPath ?? "kiln";
        return Path.GetFileNameWithoutExtension(process) == "dotnet"
            ? [process, Path.GetFullPath(Environment.GetCommandLineArgs()[0])]
            : [process];
    }

    private static string Quote(string word) => $"'{word.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    [LoggerMessage(Level = LogLevel.Information, Message = "Builds are jobs of {System}, of the types {Types}")]
    private static partial void LogReady(ILogger log, string system, string types);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Count} builds of an earlier process are looked for")]
    private static partial void LogFound(ILogger log, int count);
}
