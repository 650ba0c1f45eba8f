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
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(2);

    private readonly NodeOptions _options;
    private readonly NodeDirectory _directory;
    private readonly TimeProvider _time;
    private readonly ILogger<BuildNode> _log;
    private readonly RegistryClient _client;
    private readonly BaseFetcher _fetcher;
    private readonly BuildLimits _limits;
    private readonly NodeStatus _status;
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
        _fetcher = new BaseFetcher(_client, _directory.Bases, options.DiskBytes);
        _limits = new BuildLimits(
            options.MemoryBytes,
            options.DiskBytes,
            options.Processes,
            options.FreeDiskFloorBytes
        );
    }

    /// <summary>Finds out what can be built here, and removes what a killed node left. Call once, before <see cref="RunAsync"/>.</summary>
    public async Task PrepareAsync(CancellationToken cancel)
    {
        var jail = new Jail(_directory.Root, _time);
        var (probe, unavailable) = await ProbeAsync(jail, cancel);
        if (probe is null && _options.Unsafe)
        {
            jail = new Jail(_directory.Root, _time) { Apart = false };
            (probe, unavailable) = await ProbeAsync(jail, cancel);
        }

        if (probe is null)
        {
            _status.Abilities = NodeAbilities.None(unavailable!);
            LogUnavailable(_log, unavailable!);
            return;
        }

        foreach (var left in Directory.EnumerateDirectories(_directory.Builds))
        {
            await jail.RemoveAsync(left, cancel);
        }

        var steps = new StepCache(_directory.Steps, jail);
        await steps.SweepAsync(cancel);
        _engine = new BuildahEngine(probe, jail, new BaseStores(jail, _limits), steps, _limits);
        _status.Abilities = new NodeAbilities
        {
            Engines = [_engine.Name],
            Platforms = _engine.Abilities.Platforms,
            RecipeTypes = _engine.Abilities.RecipeTypes,
            Networks = _engine.Abilities.Networks,
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
        };
        var slots = Enumerable
            .Range(0, _options.Concurrency)
            .Select(_ => WorkAsync(coordinator, claim, _engine, cancel));
        await Task.WhenAll(slots);
    }

    private Task<(BuildahProbe? Probe, string? Unavailable)> ProbeAsync(Jail jail, CancellationToken cancel) =>
        BuildahProbe.RunAsync(jail, _directory.Root, _limits, _options.AllowHostNetwork, cancel);

    public void Dispose() => _client.Dispose();

    private static string Network(BuildahProbe probe) =>
        !probe.Apart ? "host, and not kept apart from this account (--unsafe-builds)"
        : probe.NoNetwork is null ? "isolated"
        : $"none ({probe.NoNetwork})";

    private async Task WorkAsync(
        IBuildCoordinator coordinator,
        LeaseClaim claim,
        IEngine engine,
        CancellationToken cancel
    )
    {
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
            }
            catch (OperationCanceledException) when (cancel.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                LogFault(_log, e);
                await Task.Delay(Pause, _time, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Building with {Engine}, network {Network}")]
    private static partial void LogReady(ILogger log, string engine, string network);

    [LoggerMessage(Level = LogLevel.Warning, Message = "This registry builds nothing: {Why}")]
    private static partial void LogUnavailable(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "A lease could not be worked on")]
    private static partial void LogFault(ILogger log, Exception exception);
}
