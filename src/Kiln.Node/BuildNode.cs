using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Client;
using Microsoft.Extensions.Logging;

namespace Kiln.Node;

/// <summary>
/// A build node: claims leases and has them built. The same whether it runs inside <c>kiln serve</c> or far away, where only
/// the <see cref="IBuildCoordinator"/> differs, and whether it builds itself, where only the <see cref="ILauncher"/> does.
/// </summary>
public sealed partial class BuildNode(
    ILauncher launcher,
    NodeOptions options,
    NodeStatus status,
    TimeProvider time,
    ILogger<BuildNode> log
) : IDisposable
{
    private static readonly TimeSpan ClaimWait = TimeSpan.FromSeconds(50);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(15);

    /// <summary>
    /// Finds out what can be built here, and removes what a killed node left. Call once, before <see cref="RunAsync"/>.
    /// Whatever is amiss with the machine: then nothing is built, and the status says why.
    /// </summary>
    public async Task PrepareAsync(CancellationToken cancel) => status.Abilities = await launcher.PrepareAsync(cancel);

    /// <summary>
    /// Claims and has built until <paramref name="cancel"/>, as many at a time as the options say; what becomes of builds
    /// under way then is the launcher's word.
    /// </summary>
    public Task RunAsync(IBuildCoordinator coordinator, CancellationToken cancel) =>
        RunAsync(coordinator, null, cancel);

    /// <inheritdoc cref="RunAsync(IBuildCoordinator, CancellationToken)"/>
    /// <param name="accepted">
    /// Called when the registry has answered a claim; null where there is nothing to find out. A node that is refused before,
    /// and that has nothing under way, has the wrong credentials and not a registry that is wrong for a moment.
    /// </param>
    /// <exception cref="RegistryException">The registry does not let this node ask for work.</exception>
    public async Task RunAsync(IBuildCoordinator coordinator, Action? accepted, CancellationToken cancel)
    {
        var abilities = status.Abilities;
        if (abilities.Unavailable is not null)
        {
            return;
        }

        var claim = ClaimOf(options, abilities);
        var running = launcher
            .Resume(coordinator, cancel)
            .Select(build => GuardAsync(build.Lease, build.Running, coordinator, cancel))
            .ToList();
        var pause = Pause;
        var isNew = accepted is not null && running.Count == 0;
        while (!cancel.IsCancellationRequested)
        {
            running.RemoveAll(build => build.IsCompleted);
            if (running.Count >= options.Concurrency)
            {
                await Task.WhenAny(running);
                continue;
            }

            try
            {
                // The first answer is wanted at once, whether there is work or not.
                var wait = accepted is null ? ClaimWait : TimeSpan.Zero;
                var lease = await coordinator.ClaimAsync(claim, wait, cancel);
                (accepted, isNew) = (Told(accepted), false);
                if (lease is not null)
                {
                    var build = launcher.RunAsync(lease, coordinator, cancel);
                    running.Add(GuardAsync(lease, build, coordinator, cancel));
                }

                if (pause > Pause)
                {
                    LogBack(log);
                }

                pause = Pause;
            }
            catch (OperationCanceledException) when (cancel.IsCancellationRequested)
            {
                break;
            }
            catch (Exception e) when (!isNew || e is not RegistryException { Fault: RegistryFault.NotAllowed })
            {
                pause = await PauseAsync(e, pause, cancel);
            }
        }

        await Task.WhenAll(running);
    }

    private static Action? Told(Action? accepted)
    {
        accepted?.Invoke();
        return null;
    }

    public void Dispose() => launcher.Dispose();

    /// <summary>What a node offers.</summary>
    internal static LeaseClaim ClaimOf(NodeOptions options, NodeAbilities abilities) =>
        ClaimOf(options.Name, abilities) with
        {
            Labels = Labels(abilities.Labels, options.Labels),
        };

    // What an operator says counts more than what was found.
    private static Dictionary<string, string>? Labels(
        IReadOnlyDictionary<string, string>? found,
        IReadOnlyDictionary<string, string>? said
    )
    {
        var labels = new Dictionary<string, string>(found ?? new Dictionary<string, string>(), StringComparer.Ordinal);
        foreach (var (name, value) in said ?? new Dictionary<string, string>())
        {
            labels[name] = value;
        }

        return labels.Count == 0 ? null : labels;
    }

    /// <inheritdoc cref="ClaimOf(NodeOptions, NodeAbilities)"/>
    public static LeaseClaim ClaimOf(string name, NodeAbilities abilities) =>
        new()
        {
            Node = name,
            Platforms = [.. abilities.Platforms.Select(p => p.ToString())],
            EmulatedPlatforms =
                abilities.EmulatedPlatforms.Count == 0
                    ? null
                    : [.. abilities.EmulatedPlatforms.Select(p => p.ToString())],
            Microarchitectures = abilities.Microarchitectures.Count == 0 ? null : abilities.Microarchitectures,
            // Whatever is made of an image, the image is its recipe.
            Recipes =
            [
                .. abilities.RecipeTypes,
                .. abilities.Outputs.Any(OutputFormats.IsDerived) ? new[] { RecipeTypes.Image } : [],
            ],
            Outputs = abilities.Outputs,
            Networks = abilities.Networks,
            Engines = abilities.Engines.Count == 0 ? null : abilities.Engines,
            Roots = abilities.Roots.Count == 0 ? null : abilities.Roots,
            Resources = abilities.Resources,
            Labels = abilities.Labels,
            Types = abilities.Types,
            LeaseSeconds = abilities.LeaseSeconds,
        };

    // Whatever becomes of it, the next one gets its turn; but not at once, where this one could not even be begun.
    private async Task GuardAsync(Lease lease, Task build, IBuildCoordinator coordinator, CancellationToken cancel)
    {
        try
        {
            await build;
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            // The node stops.
        }
        catch (Exception e)
        {
            await AbandonAsync(lease, e, coordinator, cancel);
            await PauseAsync(e, Pause, cancel);
        }
    }

    // Where leases do not run out by themselves, a build that nobody speaks for would be under way for ever.
    private async Task AbandonAsync(
        Lease lease,
        Exception fault,
        IBuildCoordinator coordinator,
        CancellationToken cancel
    )
    {
        try
        {
            await coordinator.CompleteAsync(
                lease,
                new LeaseResult
                {
                    State = BuildStates.Failed,
                    Reason = FailureReasons.SystemError,
                    Message = $"the build node met a fault: {fault.Message}",
                    Retryable = true,
                },
                cancel
            );
        }
        catch (Exception e)
        {
            // Its own end may have been told before, and a registry that is away takes the lease back by itself.
            LogUntold(log, lease.Execution, e.Message);
        }
    }

    // A registry that is away is asked again, ever more rarely, and not all nodes at once.
    private async Task<TimeSpan> PauseAsync(Exception e, TimeSpan pause, CancellationToken cancel)
    {
        if (e is not RegistryException away)
        {
            LogFault(log, e);
        }
        else if (pause == Pause)
        {
            LogAway(log, away.Message);
        }

        await Task.Delay(pause * (0.5 + Random.Shared.NextDouble()), time, cancel)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return e is not RegistryException ? Pause
            : pause * 2 < LongestPause ? pause * 2
            : LongestPause;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "No work to be had now: {Why}")]
    private static partial void LogAway(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "The registry answers again")]
    private static partial void LogBack(ILogger log);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The end of build {Execution} was not taken: {Why}")]
    private static partial void LogUntold(ILogger log, string execution, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "The build node met a fault")]
    private static partial void LogFault(ILogger log, Exception exception);
}
