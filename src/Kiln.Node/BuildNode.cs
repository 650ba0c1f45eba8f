using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Node.Engines;
using Kiln.Node.Engines.Buildah;
using Kiln.Node.Fetching;
using Kiln.Node.Sandbox;
using Microsoft.Extensions.Logging;

namespace Kiln.Node;

/// <summary>
/// A build node: claims leases, builds them, hands products over. The same whether it runs inside <c>kiln serve</c> or far
/// away; only the <see cref="IBuildCoordinator"/> differs.
/// </summary>
public sealed partial class BuildNode : IDisposable
{
    private static readonly TimeSpan ClaimWait = TimeSpan.FromSeconds(50);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan ProbeTime = TimeSpan.FromMinutes(1);

    private readonly NodeOptions _options;
    private readonly NodeDirectory _directory;
    private readonly TimeProvider _time;
    private readonly ILogger<BuildNode> _log;
    private readonly RegistryClient _client;
    private readonly BaseShelf _shelf;
    private readonly BaseFetcher _fetcher;
    private readonly BuildLimits _limits;
    private readonly NodeStatus _status;
    private Jail _jail;
    private IEngine? _engine;

    public BuildNode(NodeOptions options, NodeStatus status, TimeProvider time, ILogger<BuildNode> log)
    {
        _options = options;
        _status = status;
        _time = time;
        _log = log;
        _directory = new NodeDirectory(options.Directory);
        _client = new RegistryClient(
            new RegistryClientOptions { InsecureRegistries = options.InsecureRegistries, Time = time }
        );
        _limits = new BuildLimits(
            options.MemoryBytes,
            options.DiskBytes,
            options.Processes,
            options.FreeDiskFloorBytes
        );
        _jail = new Jail(_directory.Root, time);
        _shelf = new BaseShelf(_directory.Bases, options.MaxBases, options.MaxBaseBytes, SweepAsync);
        _fetcher = new BaseFetcher(_client, _shelf, options.DiskBytes);
    }

    /// <summary>
    /// Finds out what can be built here, and removes what a killed node left. Call once, before <see cref="RunAsync"/>.
    /// Whatever is amiss with the machine: then nothing is built, and the status says why.
    /// </summary>
    public async Task PrepareAsync(CancellationToken cancel)
    {
        _directory.DeleteSecrets();
        var (probe, unavailable) = await ProbeAsync(cancel);
        if (probe is null && _options.Unsafe)
        {
            _jail = new Jail(_directory.Root, _time) { Apart = false };
            (probe, unavailable) = await ProbeAsync(cancel);
        }

        if (probe is null)
        {
            _status.Abilities = NodeAbilities.None(unavailable!);
            LogUnavailable(_log, unavailable!);
            return;
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
        _engine = new BuildahEngine(probe, _jail, new BaseStores(_jail, _limits), steps, _limits);
        _status.Abilities = new NodeAbilities
        {
            Engines = [_engine.Name],
            Platforms = _engine.Abilities.Platforms,
            RecipeTypes = _engine.Abilities.RecipeTypes,
            Networks = _engine.Abilities.Networks,
            Resources = Resources,
        };
        LogReady(_log, probe.Name, Network(probe));
    }

    /// <summary>Claims and builds until <paramref name="cancel"/>; builds under way are then ended and given back.</summary>
    public async Task RunAsync(IBuildCoordinator coordinator, CancellationToken cancel)
    {
        if (_engine is null)
        {
            return;
        }

        var claim = new LeaseClaim
        {
            Node = _options.Name,
            Platforms = [.. _engine.Abilities.Platforms.Select(p => p.ToString())],
            Recipes = _engine.Abilities.RecipeTypes,
            Outputs = [BuildOutput.Oci],
            Networks = _engine.Abilities.Networks,
            Engines = [_engine.Name],
            Resources = Resources,
            Labels = _options.Labels,
        };
        var slots = Enumerable
            .Range(0, _options.Concurrency)
            .Select(_ => WorkAsync(coordinator, claim, _engine, cancel));
        await Task.WhenAll(slots);
    }

    public void Dispose()
    {
        _jail.Dispose();
        _client.Dispose();
    }

    private BuildResources Resources =>
        new()
        {
            Cpus = Environment.ProcessorCount,
            MemoryBytes = _options.MemoryBytes,
            DiskBytes = _options.DiskBytes,
        };

    private static string Network(BuildahProbe probe) =>
        !probe.Apart ? "host, and not kept apart from this account (--unsafe-builds)"
        : probe.NoNetwork is null ? "isolated"
        : $"none ({probe.NoNetwork})";

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

    private async Task WorkAsync(
        IBuildCoordinator coordinator,
        LeaseClaim claim,
        IEngine engine,
        CancellationToken cancel
    )
    {
        var pause = Pause;
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                if (await coordinator.ClaimAsync(claim, ClaimWait, cancel) is { } lease)
                {
                    using var build = new LeasedBuild(
                        lease,
                        coordinator,
                        engine,
                        _fetcher,
                        _directory,
                        _options,
                        _time,
                        _log
                    );
                    await build.RunAsync(cancel);
                }

                if (pause > Pause)
                {
                    LogBack(_log);
                }

                pause = Pause;
            }
            catch (OperationCanceledException) when (cancel.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                pause = await PauseAsync(e, pause, cancel);
            }
        }
    }

    // A registry that is away is asked again, ever more rarely, and not all nodes at once.
    private async Task<TimeSpan> PauseAsync(Exception e, TimeSpan pause, CancellationToken cancel)
    {
        if (e is not RegistryException away)
        {
            LogFault(_log, e);
        }
        else if (pause == Pause)
        {
            LogAway(_log, away.Message);
        }

        await Task.Delay(pause * (0.5 + Random.Shared.NextDouble()), _time, cancel)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return e is not RegistryException ? Pause
            : pause * 2 < LongestPause ? pause * 2
            : LongestPause;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Building with {Engine}, network {Network}")]
    private static partial void LogReady(ILogger log, string engine, string network);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Nothing is built here: {Why}")]
    private static partial void LogUnavailable(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Directory} could not be removed")]
    private static partial void LogNotSwept(ILogger log, string directory, Exception exception);

    [LoggerMessage(Level = LogLevel.Warning, Message = "No work to be had now: {Why}")]
    private static partial void LogAway(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "The registry answers again")]
    private static partial void LogBack(ILogger log);

    [LoggerMessage(Level = LogLevel.Error, Message = "The build node met a fault")]
    private static partial void LogFault(ILogger log, Exception exception);
}
