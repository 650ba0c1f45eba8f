using System.Security.Cryptography;
using System.Text;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Recipes;
using Kiln.Client;
using Kiln.Node.Deriving;
using Kiln.Node.Remote;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Launchers;

/// <summary>
/// One build in a job of a batch system: what is handed over is fetched, built and published from here, with the lease's
/// own credential. What the build leaves on this machine is removed with the job.
/// </summary>
public sealed partial class JobRun(JobHandover handover, Func<string, string?> variable, TimeProvider time, ILogger log)
{
    private const string Prefix = "kiln-job-";

    // The batch system's word for this job, for people.
    private static readonly string[] JobVariables = ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"];

    /// <summary>Builds.</summary>
    /// <param name="timeUp">The batch system is about to end the job for its time.</param>
    /// <param name="stop">The job is being ended; why, the node that submitted it will know.</param>
    public async Task RunAsync(CancellationToken timeUp, CancellationToken stop)
    {
        var root = handover.Scratch ?? variable("TMPDIR") ?? Path.GetTempPath();
        if (handover.Scratch is not null)
        {
            JobScratch.MakeRoot(root);
        }

        // Jobs' names are seen by everybody: a name that follows from one could be taken by others before the job begins.
        var name = $"{Prefix}{handover.Lease.Id}-{RandomNumberGenerator.GetHexString(12, lowercase: true)}";
        using var scratch = new JobScratch(root, name);
        using var launcher = new LocalLauncher(OptionsOf(handover, scratch.Directory), time, log) { TimeUp = timeUp };
        try
        {
            using var coordinator = new HttpCoordinator(
                new RemoteServer
                {
                    Host = handover.Server,
                    InsecureRegistries = handover.InsecureRegistries,
                    Spool = Path.Combine(scratch.Directory, "spool"),
                },
                time
            );
            foreach (var left in JobScratch.Left(root, Prefix))
            {
                await launcher.RemoveAsync(left, stop);
            }

            await BuildAsync(launcher, coordinator, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The job is ended before its build has begun.
        }
        catch (LeaseLostException e)
        {
            LogLost(log, e.Message);
        }
        finally
        {
            await launcher.RemoveAsync(scratch.Directory, CancellationToken.None);
        }
    }

    /// <summary>What the node is told that the job is.</summary>
    internal static NodeOptions OptionsOf(JobHandover handover, string directory) =>
        new()
        {
            Directory = directory,
            Name = Environment.MachineName,
            // What a job leaves on another disk nobody would remove.
            OtherDisk = null,
            LeavesLease = true,
            Unsafe = handover.Unsafe,
            SingleId = handover.SingleId,
            AllowHostNetwork = handover.AllowHostNetwork,
            // A machine of another type than was meant must not emulate what is not marked as emulated.
            AllowEmulation = handover.IsEmulated,
            ApptainerRoot = handover.ApptainerRoot,
            InsecureRegistries = handover.InsecureRegistries,
            MemoryBytes = handover.MemoryBytes,
            DiskBytes = handover.DiskBytes,
            Processes = handover.Processes,
            MaxContextBytes = handover.MaxContextBytes,
        };

    private async Task BuildAsync(LocalLauncher launcher, HttpCoordinator coordinator, CancellationToken stop)
    {
        var lease = handover.Lease;
        await SayWhereAsync(coordinator, stop);
        var abilities = await launcher.PrepareAsync(stop);
        if (Unfit(abilities, lease.Task, handover.IsEmulated) is { } why)
        {
            await coordinator.CompleteAsync(
                lease,
                new LeaseResult
                {
                    State = BuildStates.Failed,
                    Reason = FailureReasons.SystemError,
                    Message =
                        $"{Environment.MachineName}, a machine of the type '{handover.Type}', cannot build this: {why}",
                    // The next one may be another machine.
                    Retryable = true,
                },
                stop
            );
            return;
        }

        await launcher.RunAsync(lease, coordinator, stop);
    }

    // A registry that is away for a moment is waited for by the build; this line is not worth it.
    private async Task SayWhereAsync(HttpCoordinator coordinator, CancellationToken stop)
    {
        try
        {
            await coordinator.AppendLogAsync(handover.Lease, Encoding.UTF8.GetBytes($"[{Where()}]\n"), stop);
        }
        catch (RegistryException e)
        {
            LogUnsaid(log, e.Message);
        }
    }

    private string Where()
    {
        var job = JobVariables.Select(variable).FirstOrDefault(id => id is { Length: > 0 });
        var partition = variable("SLURM_JOB_PARTITION") is { Length: > 0 } name ? $", partition {name}" : "";
        return $"{(job is null ? "a job" : $"job {job}")} on {variable("SLURMD_NODENAME") ?? Environment.MachineName}{partition}, type {handover.Type}";
    }

    /// <summary>What the machine lacks for a build that its type promises; null where it lacks nothing.</summary>
    /// <param name="abilities">What the machine is.</param>
    /// <param name="task">The build.</param>
    /// <param name="emulated">Whether the type says that it is emulated.</param>
    internal static string? Unfit(NodeAbilities abilities, LeaseTask task, bool emulated) =>
        abilities.Unavailable
        // Nothing of a finished image is run, so that any machine will do that has the programs.
        ?? (task.RecipeType == RecipeTypes.Image ? NoFormat(abilities, task) : Lacks(abilities, task, emulated));

    private static string? NoFormat(NodeAbilities abilities, LeaseTask task) =>
        abilities.Outputs.Contains(task.Format, StringComparer.Ordinal)
            ? null
            : $"it makes no {task.Format} of images: {Squashfs.Name} (squashfs-tools 4.5 or later) does not do it there; the type's 'outputs' say what its machines make";

    private static string? Lacks(NodeAbilities abilities, LeaseTask task, bool emulated) =>
        emulated && !abilities.EmulatedPlatforms.Contains(task.Platform)
            ? $"it does not emulate {task.Platform}, as the type says: its qemu (qemu-user-static) is not there, or the kernel does not let builds have it"
        : !emulated && !abilities.Platforms.Any(p => PlatformLevels.Builds(p, task.Platform))
            ? $"it is {string.Join(", ", abilities.Platforms)}, not {task.Platform}; the type names the wrong machines"
        : BuildTargets.Finer(task.Platform, task.Microarchitecture) is { } finer
        && !abilities.Microarchitectures.Contains(finer, StringComparer.Ordinal)
            ? $"it is {(abilities.Microarchitectures is [var finest, ..] ? finest : "of no known micro-architecture")}, which does not run what is built for {finer}; the type names the wrong machines"
        : !abilities.RecipeTypes.Contains(task.RecipeType, StringComparer.Ordinal)
            ? $"it builds no recipes of type '{task.RecipeType}', as the type says: {abilities.NoDefinitions ?? "no engine of it is there"}"
        : null;

    [LoggerMessage(Level = LogLevel.Warning, Message = "The log of the build does not say where it runs: {Why}")]
    private static partial void LogUnsaid(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The lease is over: {Why}")]
    private static partial void LogLost(ILogger log, string why);
}
