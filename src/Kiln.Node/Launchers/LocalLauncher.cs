using System.Diagnostics.CodeAnalysis;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Node.Deriving;
using Kiln.Node.Engines;
using Kiln.Node.Engines.Apptainer;
using Kiln.Node.Engines.Buildah;
using Kiln.Node.Fetching;
using Kiln.Node.Machine;
using Kiln.Node.Sandbox;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Launchers;

/// <summary>Builds in this process, on this machine.</summary>
public sealed partial class LocalLauncher : ILauncher
{
    private static readonly TimeSpan ProbeTime = TimeSpan.FromMinutes(5);

    private readonly NodeOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly RegistryClient _client;
    private readonly BuildLimits _limits;
    private NodeDirectory _directory;
    private Jail _jail;
    private BaseShelf _shelf;
    private BaseFetcher _fetcher;
    private IReadOnlyList<IEngine> _engines = [];

    public LocalLauncher(NodeOptions options, TimeProvider time, ILogger log)
    {
        _options = options;
        _time = time;
        _log = log;
        _client = new RegistryClient(
            new RegistryClientOptions { InsecureRegistries = options.InsecureRegistries, Time = time }
        );
        _limits = new BuildLimits(
            options.MemoryBytes,
            options.DiskBytes,
            options.Processes,
            options.FreeDiskFloorBytes
        );
        Use(new NodeDirectory(options.Directory));
    }

    /// <summary>Says that whoever gave this process its time takes it back: builds end as those do that took too long.</summary>
    public CancellationToken TimeUp { get; init; }

    public async Task<NodeAbilities> PrepareAsync(CancellationToken cancel)
    {
        _directory.DeleteSecrets();
        var (probe, unavailable) = await TryAsync(cancel);
        if (probe?.NoStorage is { } why)
        {
            (probe, unavailable) = await TryElsewhereAsync(why, cancel);
        }

        if (probe is null)
        {
            unavailable = Advised(unavailable!);
            LogUnavailable(_log, unavailable);
            return NodeAbilities.None(unavailable);
        }

        var steps = new StepCache(_directory.Steps, _jail);
        foreach (
            var left in Directory
                .EnumerateDirectories(_directory.Builds)
                .Concat(_shelf.Leftovers())
                .Concat(steps.Leftovers())
                .ToList()
        )
        {
            await SweepAsync(left, cancel);
        }

        _jail.Prepare(probe.NetworkFor(NetworkModes.Isolated), _limits);
        var store = new StoreBuild(probe, _jail, new BaseStores(_jail, _limits), steps, _limits);
        var (apptainer, noApptainer) = await ApptainerAsync(store, cancel);
        _engines = [new BuildahEngine(probe, store), .. apptainer is null ? Array.Empty<IEngine>() : [apptainer]];
        LogReady(_log, string.Join(", ", _engines.Select(e => e.Name)), _jail.Users.Root, Network(probe));
        foreach (var emulator in probe.Emulators)
        {
            LogEmulates(_log, emulator.Platform.ToString(), emulator.Name);
        }

        var (formats, noFiles) = await Derivation.FormatsAsync(_directory.Root, _log, cancel);
        var machine = Processor.Read(MachineRoot.This, MachineProbe.HostArchitecture);
        return new NodeAbilities
        {
            Engines = [.. _engines.Select(e => e.Name)],
            Platforms =
            [
                .. _engines[0]
                    .Abilities.Platforms.SelectMany(p =>
                        p == BuildahProbe.HostPlatform ? PlatformLevels.Below(machine.Platform) : [p]
                    ),
            ],
            EmulatedPlatforms = _engines[0].Abilities.EmulatedPlatforms,
            Microarchitectures = machine.Names,
            RecipeTypes = [.. _engines.SelectMany(e => e.Abilities.RecipeTypes)],
            NoDefinitions = noApptainer,
            Outputs = [BuildOutput.Oci, .. formats],
            NoFiles = noFiles,
            Networks = _engines[0].Abilities.Networks,
            Roots = [_jail.Users.Root],
            Resources = Resources,
            Labels = Facts(),
        };
    }

    public async Task RunAsync(Lease lease, IBuildCoordinator coordinator, CancellationToken stop)
    {
        using var build = new LeasedBuild(
            lease,
            coordinator,
            EngineOf(_engines, lease.Task.RecipeType),
            _fetcher,
            _directory,
            _options,
            _time,
            _log
        )
        {
            Limits = _limits,
            TimeUp = TimeUp,
        };
        await build.RunAsync(stop);
    }

    /// <summary>
    /// Removes a directory of builds, also what in it belongs to subordinate ids. Its own, where nothing will be built any more.
    /// </summary>
    public async Task RemoveAsync(string directory, CancellationToken cancel)
    {
        if (Path.GetFullPath(directory) == _directory.Root)
        {
            _jail.Dispose();
        }

        await SweepAsync(directory, cancel);
    }

    public void Dispose()
    {
        _jail.Dispose();
        _client.Dispose();
    }

    [MemberNotNull(nameof(_directory), nameof(_jail), nameof(_shelf), nameof(_fetcher))]
    private void Use(NodeDirectory directory)
    {
        _directory = directory;
        _jail = new Jail(directory.Root, _time, _options.SingleId);
        _shelf = new BaseShelf(directory.Bases, _options.MaxBases, _options.MaxBaseBytes, SweepAsync);
        _fetcher = new BaseFetcher(_client, _shelf, _options.DiskBytes);
    }

    private async Task<(BuildahProbe? Probe, string? Unavailable)> TryAsync(CancellationToken cancel)
    {
        var (probe, unavailable) = await ProbeAsync(cancel);
        if (probe is null && _options.Unsafe)
        {
            _jail = new Jail(_directory.Root, _time, _options.SingleId) { Apart = false };
            (probe, unavailable) = await ProbeAsync(cancel);
        }

        return (probe, unavailable);
    }

    // Home directories are often on NFS, where images cannot be stacked: then they are kept on a disk of the machine's own.
    private async Task<(BuildahProbe? Probe, string? Unavailable)> TryElsewhereAsync(
        string why,
        CancellationToken cancel
    )
    {
        var here = $"images cannot be stacked on the file system of {_directory.Root} ({LastLine(why)})";
        const string wanted = "keep the node's directory on a disk of the machine's own, or name one in TMPDIR";
        if (_options.OtherDisk is not { } disk)
        {
            return (null, $"{here}; name a directory on a disk of the machine's own (scratch)");
        }

        try
        {
            Use(NodeDirectory.On(disk, _options.Directory));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (null, $"{here}, and not in {disk}: {e.Message}; {wanted}");
        }

        _directory.DeleteSecrets();
        var (probe, unavailable) = await TryAsync(cancel);
        if (probe?.NoStorage is not null)
        {
            return (null, $"{here}, nor in {disk}; {wanted}");
        }

        LogElsewhere(_log, here, _directory.Root);
        return (probe, unavailable);
    }

    private static string LastLine(string text) => text.TrimEnd().Split('\n')[^1];

    private BuildResources Resources =>
        new()
        {
            Cpus = Environment.ProcessorCount,
            MemoryBytes = _options.MemoryBytes,
            DiskBytes = _options.DiskBytes,
        };

    private static IReadOnlyDictionary<string, string> Facts()
    {
        var (name, uid) = UserNamespace.Account();
        return MachineLabels.Of(MachineProbe.Read(MachineRoot.This, MachineProbe.HostArchitecture, name, uid));
    }

    // Why it does not work the kernel says in few words; what could be done about it is found out here.
    private static string Advised(string unavailable)
    {
        var (name, uid) = UserNamespace.Account();
        var facts = MachineProbe.Read(MachineRoot.This, MachineProbe.HostArchitecture, name, uid);
        return MachineNeeds.Advice(facts, name) is { } advice ? $"{unavailable}; {advice}" : unavailable;
    }

    private static string Network(BuildahProbe probe) =>
        !probe.Apart ? "host, and not kept apart from this account (--unsafe-builds)"
        : probe.NoNetwork is null ? "isolated"
        : $"none ({probe.NoNetwork})";

    // No engine gets a recipe that is not its own: it would read it as something else. What is made of a finished image needs none.
    internal static IEngine EngineOf(IReadOnlyList<IEngine> engines, string recipe) =>
        engines.FirstOrDefault(e =>
            recipe == RecipeTypes.Image || e.Abilities.RecipeTypes.Contains(recipe, StringComparer.Ordinal)
        )
        ?? throw new InvalidOperationException(
            engines.Count == 0 ? "nothing can be built here" : $"no recipes of type '{recipe}' can be built here"
        );

    // Where there is none, definitions are not built here, and everything else is.
    private async Task<(IEngine? Engine, string? Unavailable)> ApptainerAsync(
        StoreBuild store,
        CancellationToken cancel
    )
    {
        string why;
        var home = Directory.CreateDirectory(Path.Combine(_directory.Root, "apptainer")).FullName;
        try
        {
            var (probe, unavailable) = await ApptainerProbe.RunAsync(
                _jail,
                home,
                _options.ApptainerRoot,
                _limits,
                cancel
            );
            if (probe is not null)
            {
                return (new ApptainerEngine(probe, store), null);
            }

            why = unavailable!;
        }
        catch (Exception e) when (e is SandboxException or IOException && !cancel.IsCancellationRequested)
        {
            why = e.Message;
        }

        LogNoApptainer(_log, why);
        return (null, why);
    }

    private async Task<(BuildahProbe? Probe, string? Unavailable)> ProbeAsync(CancellationToken cancel)
    {
        using var over = new CancellationTokenSource(ProbeTime, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, over.Token);
        try
        {
            return await BuildahProbe.RunAsync(
                _jail,
                _directory.Root,
                _limits,
                _options.AllowHostNetwork,
                _options.AllowEmulation,
                either.Token
            );
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            LogFault(_log, e);
            return (null, $"the build node could not try out this machine: {e.Message}");
        }
    }

    private async Task SweepAsync(string left, CancellationToken cancel)
    {
        try
        {
            await _jail.RemoveAsync(left, cancel);
        }
        catch (Exception e) when (e is SandboxException or IOException && !cancel.IsCancellationRequested)
        {
            // It takes room, no more; the next start tries again.
            LogNotSwept(_log, left, e);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Building with {Engine}, root by {Root}, network {Network}")]
    private static partial void LogReady(ILogger log, string engine, string root, string network);

    [LoggerMessage(Level = LogLevel.Information, Message = "Building for {Platform} too, by emulation with {Emulator}")]
    private static partial void LogEmulates(ILogger log, string platform, string emulator);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Why}: bases, cached steps and builds are kept in {Place}")]
    private static partial void LogElsewhere(ILogger log, string why, string place);

    [LoggerMessage(Level = LogLevel.Information, Message = "Definitions are not built here: {Why}")]
    private static partial void LogNoApptainer(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Nothing is built here: {Why}")]
    private static partial void LogUnavailable(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Directory} could not be removed")]
    private static partial void LogNotSwept(ILogger log, string directory, Exception exception);

    [LoggerMessage(Level = LogLevel.Error, Message = "The build node met a fault")]
    private static partial void LogFault(ILogger log, Exception exception);
}
