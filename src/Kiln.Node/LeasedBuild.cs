using System.Text;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Node.Deriving;
using Kiln.Node.Engines;
using Kiln.Node.Fetching;
using Kiln.Node.Publishing;
using Kiln.Node.Sandbox;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Node;

/// <summary>One lease from claim to result: fetch with credentials, build without, hand over.</summary>
internal sealed partial class LeasedBuild(
    Lease lease,
    IBuildCoordinator coordinator,
    IEngine engine,
    BaseFetcher fetcher,
    NodeDirectory directory,
    NodeOptions options,
    TimeProvider time,
    ILogger log
) : IDisposable
{
    private readonly BuildReport _report = new(lease, coordinator, time, log);
    private readonly BaseHold _bases = fetcher.Hold();
    private readonly BaseRules? _rules = Rules(lease, options);
    private readonly RegistryClient? _login = LeaseLogin.Client(lease, Rules(lease, options), options, time);
    private const int DeliveryTries = 20;
    private static readonly TimeSpan DeliveryPause = TimeSpan.FromSeconds(3);

    // A node that stops does not wait longer for a registry that is away: the build is made anew.
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(30);
    private Func<Task>? _keepSteps;

    /// <summary>The time that was given to this process is up, however much of it the build could have had.</summary>
    public CancellationToken TimeUp { get; init; }

    /// <summary>What making something of an image may use.</summary>
    public required BuildLimits Limits { get; init; }

    /// <summary>
    /// Builds and reports. <paramref name="stop"/> ends the build and gives the lease back, or leaves it to whoever started
    /// this process (<see cref="NodeOptions.LeavesLease"/>).
    /// </summary>
    public async Task RunAsync(CancellationToken stop)
    {
        LogClaimed(log, lease.Execution, lease.Repository, lease.Attempt);
        var home = directory.CreateBuild(lease.Id);
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(lease.Task.TimeoutSeconds), time);
        using var late = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, TimeUp);
        using var any = CancellationTokenSource.CreateLinkedTokenSource(stop, late.Token, _report.Canceled);
        using var over = new CancellationTokenSource(Timeout.InfiniteTimeSpan, time);
        await using var stopping = stop.Register(() => over.CancelAfter(Farewell));
        _report.Begin();
        SayWhere();
        var reporting = _report.RunAsync();
        try
        {
            var result = await ResultAsync(home, any.Token);
            if (_report.Lost)
            {
                LogLost(log, lease.Execution);
            }
            else if (stop.IsCancellationRequested && result.State != BuildStates.Succeeded)
            {
                if (options.LeavesLease)
                {
                    _report.Hurry();
                }

                await _report.FinishAsync(reporting);
                if (!options.LeavesLease)
                {
                    await coordinator.GiveBackAsync(lease, CancellationToken.None);
                }
            }
            else
            {
                await _report.FinishAsync(reporting);
                result = Classify(result, timeout.IsCancellationRequested);
                var published = await DeliverAsync(result, over.Token);
                LogDone(log, lease.Execution, result.State, result.Reason ?? "");
                await KeepStepsAsync(published);
            }
        }
        catch (LeaseLostException)
        {
            LogLost(log, lease.Execution);
        }
        catch (OperationCanceledException) when (over.IsCancellationRequested)
        {
            LogUnfinished(log, lease.Execution);
        }
        finally
        {
            await _report.FinishAsync(reporting);
            await engine.CleanUpAsync(home, CancellationToken.None);
            await _bases.ReleaseAsync();
        }
    }

    public void Dispose()
    {
        _report.Dispose();
        _login?.Dispose();
    }

    // The registry knows a node by its credential, which several may share. A job of a batch system has said it already, and
    // a node beside the registry has nothing to say.
    private void SayWhere()
    {
        if (lease.Auth is not null && !options.LeavesLease)
        {
            _report.Log(Encoding.UTF8.GetBytes($"[on {options.Name}]\n"));
        }
    }

    // Only of what was published: a refused product's layers are in nobody's reach. The build itself is over and well,
    // whatever becomes of its steps.
    private async Task KeepStepsAsync(bool published)
    {
        try
        {
            if (published && _keepSteps is not null)
            {
                await _keepSteps();
            }
        }
        catch (Exception e)
        {
            LogNotKept(log, lease.Execution, e);
        }
    }

    // A product that took an hour must not be lost for a fault of a moment. Safe to repeat: the same result is taken once.
    private async Task<bool> DeliverAsync(LeaseResult result, CancellationToken over)
    {
        for (var left = DeliveryTries; ; left--)
        {
            try
            {
                return await coordinator.CompleteAsync(lease, result, over);
            }
            catch (Exception e) when (left > 0 && MayPass(e))
            {
                LogUndelivered(log, lease.Execution, e);
                await Task.Delay(DeliveryPause, time, over);
            }
        }
    }

    private static bool MayPass(Exception e) =>
        e is not (LeaseLostException or OciException)
        && e is not RegistryException { Fault: RegistryFault.Refused or RegistryFault.NotAllowed };

    private LeaseResult Classify(LeaseResult result, bool timedOut) =>
        result.State != BuildStates.Canceled ? result
        : timedOut
            ? Failed(
                FailureReasons.Timeout,
                $"the build ran longer than {lease.Task.TimeoutSeconds} s and was ended; ask for more with timeoutSeconds, up to the limit of this registry and its nodes"
            )
        : TimeUp.IsCancellationRequested && !_report.Canceled.IsCancellationRequested
            ? Failed(
                FailureReasons.Timeout,
                "the time that the batch system gave to this build is up, and it was ended"
            )
        : result;

    private async Task<LeaseResult> ResultAsync(string home, CancellationToken cancel)
    {
        try
        {
            return lease.Task.RecipeType == RecipeTypes.Image
                ? await DeriveAsync(home, cancel)
                : await BuildAsync(home, cancel);
        }
        catch (DerivationException e)
        {
            return Failed(e.IsLimit ? FailureReasons.LimitExceeded : FailureReasons.RecipeError, e.Message);
        }
        catch (Exception e) when (cancel.IsCancellationRequested && e is not LeaseLostException)
        {
            // What ends a build under way shows in many ways: a broken pipe, a process that is gone.
            return new LeaseResult { State = BuildStates.Canceled, Steps = _report.Steps };
        }
        catch (FormatException e)
        {
            return Failed(FailureReasons.RecipeError, e.Message);
        }
        catch (RegistryException e)
            when (e.Fault is RegistryFault.NotFound or RegistryFault.NotAllowed or RegistryFault.Refused)
        {
            return Failed(FailureReasons.RecipeError, $"a base image cannot be had: {e.Message}");
        }
        catch (Exception e) when (e is not LeaseLostException)
        {
            LogBuildFault(log, lease.Execution, e);
            return Failed(FailureReasons.SystemError, e.Message) with { Retryable = true };
        }
    }

    private async Task<LeaseResult> DeriveAsync(string home, CancellationToken cancel)
    {
        _report.Phase(BuildPhases.Converting);
        var derivation = new Derivation(
            lease,
            coordinator,
            home,
            Limits,
            line => _report.Log(Encoding.UTF8.GetBytes(line))
        );
        return await derivation.MakeAsync(cancel);
    }

    private async Task<LeaseResult> BuildAsync(string home, CancellationToken cancel)
    {
        _report.Phase(BuildPhases.Fetching);
        var recipe = await RecipeAsync(cancel);
        var bases = new List<FetchedBase>();
        foreach (var reference in engine.BasesOf(TargetArguments.With(lease.Task, recipe), recipe))
        {
            var image = await FetchAsync(reference, cancel);
            _report.Log(Encoding.UTF8.GetBytes($"FROM {reference.Written} is {image.Manifest}\n"));
            bases.Add(image);
        }

        if (Unchanged(bases) is { } unchanged)
        {
            return unchanged;
        }

        var contexts = await ContextFetcher.FetchAsync(
            (digest, stop) => coordinator.OpenBlobAsync(lease, digest, stop),
            lease.Task.Contexts,
            Path.Combine(home, "build", "contexts"),
            options.MaxContextBytes,
            cancel
        );
        var task = new EngineTask
        {
            Directory = home,
            CacheScope = lease.Repository,
            Task = TargetArguments.With(lease.Task, recipe),
            Recipe = recipe,
            Contexts = contexts,
            Bases = bases,
            IsPublished = (digest, stop) => coordinator.HasBlobAsync(lease, digest, stop),
        };
        var product = await engine.BuildAsync(task, _report, cancel);
        if (product.Reason is not null)
        {
            return Failed(product.Reason, product.Message ?? product.Reason) with
            {
                ExitCode = product.ExitCode,
                Steps = product.Steps,
                Retryable = product.Reason == FailureReasons.SystemError,
            };
        }

        return await HandOverAsync(task, product, cancel);
    }

    // The material is the same as that of an earlier result: so is the product (build-extension, "Sharing and reuse").
    private LeaseResult? Unchanged(IReadOnlyList<FetchedBase> bases)
    {
        var resolved = Resolved(bases);
        if (lease.Task.Earlier?.FirstOrDefault(e => e.IsOf(resolved)) is not { } earlier)
        {
            return null;
        }

        _report.Log("all bases are those of an earlier build, whose product this is\n"u8);
        return new LeaseResult
        {
            State = BuildStates.Succeeded,
            Manifest = earlier.Manifest,
            ResolvedDependencies = resolved,
        };
    }

    private static List<ResolvedDependency> Resolved(IReadOnlyList<FetchedBase> bases) =>
        [.. bases.Select(b => new ResolvedDependency { Uri = UriOf(b.Reference), Digest = b.Manifest })];

    private async Task<LeaseResult> HandOverAsync(EngineTask task, EngineResult product, CancellationToken cancel)
    {
        var (manifest, made) = await new ProductPublisher(coordinator).PublishAsync(lease, task, product, cancel);
        // Not before the registry has accepted the product: until then its layers are in no repository.
        _keepSteps = () => engine.KeepStepsAsync(task, made, CancellationToken.None);
        return new LeaseResult
        {
            State = BuildStates.Succeeded,
            Manifest = manifest,
            Steps = product.Steps,
            Confinement = _report.Confinement,
            ResolvedDependencies = Resolved(task.Bases),
        };
    }

    // The registry itself may be starting anew: its lease is worth a wait, as it is when the product is delivered.
    private async Task<FetchedBase> FetchAsync(BaseReference reference, CancellationToken cancel)
    {
        for (var tries = 1; ; tries++)
        {
            try
            {
                return await fetcher.FetchAsync(
                    reference,
                    Microarchitecture(reference),
                    Pinned(reference),
                    _bases,
                    _login,
                    _rules,
                    cancel
                );
            }
            catch (RegistryException e)
                when (e.Fault == RegistryFault.Unreachable
                    && e.Host is { } host
                    && _rules?.IsOwn(host) == true
                    && tries < DeliveryTries
                )
            {
                await Task.Delay(DeliveryPause, time, cancel);
            }
        }
    }

    // A stage for the machine that builds is not for that of the target.
    private string? Microarchitecture(BaseReference reference) =>
        reference.Platform == lease.Task.Platform ? lease.Task.Microarchitecture : null;

    private Digest? Pinned(BaseReference reference) =>
        lease.Task.PinnedBases?.FirstOrDefault(p => p.Uri == UriOf(reference))?.Digest;

    private static string UriOf(BaseReference reference) => $"docker://{reference.Written}";

    private static BaseRules? Rules(Lease lease, NodeOptions options) =>
        lease.Bases is { } bases ? new BaseRules(bases, options.InsecureRegistries) : null;

    private async Task<string> RecipeAsync(CancellationToken cancel)
    {
        await using var blob =
            await coordinator.OpenBlobAsync(lease, lease.Task.Recipe.Digest, cancel)
            ?? throw new FormatException("the recipe is no longer in the repository");
        using var reader = new StreamReader(blob, Encoding.UTF8);
        return await reader.ReadToEndAsync(cancel);
    }

    private LeaseResult Failed(string reason, string message) =>
        new()
        {
            State = BuildStates.Failed,
            Reason = reason,
            Message = message,
            Steps = _report.Steps,
            Confinement = _report.Confinement,
        };

    [LoggerMessage(Level = LogLevel.Information, Message = "Building {Execution} of {Repository}, attempt {Attempt}")]
    private static partial void LogClaimed(ILogger log, string execution, string repository, int attempt);

    [LoggerMessage(Level = LogLevel.Information, Message = "Build {Execution} {State} {Reason}")]
    private static partial void LogDone(ILogger log, string execution, string state, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The steps of build {Execution} were not kept")]
    private static partial void LogNotKept(ILogger log, string execution, Exception exception);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "The result of build {Execution} was not taken; it is sent again"
    )]
    private static partial void LogUndelivered(ILogger log, string execution, Exception exception);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "The node stops, and the result of build {Execution} could not be delivered: the registry does not answer"
    )]
    private static partial void LogUnfinished(ILogger log, string execution);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Build {Execution} lost its lease and was dropped")]
    private static partial void LogLost(ILogger log, string execution);

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "Build {Execution} failed for a reason that is not the recipe's"
    )]
    private static partial void LogBuildFault(ILogger log, string execution, Exception exception);
}
