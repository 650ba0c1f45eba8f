using Kiln.BuildSpec;
using Kiln.Client.Builds;

namespace Kiln.Cli.Progress;

/// <summary>What a task is called where a job has several.</summary>
internal static class TaskText
{
    /// <summary>Its machine, and its format where it is not the image itself: <c>linux/amd64 sif</c>.</summary>
    public static string Name(JobTask task) =>
        task.Format == BuildOutput.Oci ? Machine(task) : $"{Machine(task)} {task.Format}";

    /// <summary>What goes before its lines; a job's only image needs no name.</summary>
    public static string Prefix(JobTask task, bool several) =>
        several || task.Format != BuildOutput.Oci ? $"{Name(task)} " : "";

    /// <summary>
    /// Its phase, and what that is at: <c>scheduled: Slurm job 4711 waits: Resources</c>. Steps have lines of their own.
    /// One line, safe to show.
    /// </summary>
    public static string Phase(TaskProgress progress)
    {
        var phase = progress.Phase ?? progress.State;
        var said =
            progress.Steps is { Count: > 0 } && progress.Phase != BuildPhases.Scheduled ? null : progress.Progress;
        return TerminalText
            .Escape(string.IsNullOrWhiteSpace(said) ? phase : $"{phase}: {said}")
            .Replace('\n', ' ')
            .Replace('\t', ' ');
    }

    /// <summary>All of a job's, each machine once: <c>linux/amd64 (oci, sif),linux/arm64</c>.</summary>
    public static string Names(IEnumerable<JobTask> tasks) =>
        string.Join(
            ',',
            tasks
                .GroupBy(Machine, StringComparer.Ordinal)
                .Select(of =>
                {
                    var formats = of.Select(task => task.Format).Distinct(StringComparer.Ordinal).ToList();
                    return formats is [BuildOutput.Oci] ? of.Key : $"{of.Key} ({string.Join(", ", formats)})";
                })
        );

    private static string Machine(JobTask task) =>
        task.Microarchitecture is { } name ? $"{task.Platform} {name}" : task.Platform;
}
