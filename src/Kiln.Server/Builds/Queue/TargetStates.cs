using Kiln.BuildSpec;

namespace Kiln.Server.Builds.Queue;

/// <summary>
/// The states of a job's targets. To each belong its image and all that is made of it, flattened or in another format: it has
/// succeeded when all of these have (build-extension, S-5 and F-7).
/// </summary>
internal static class TargetStates
{
    /// <param name="tasks">All that the job has not left.</param>
    public static List<string> Of(IReadOnlyList<TaskRow> tasks) =>
        [.. tasks.GroupBy(t => TargetOf(t, tasks)).Select(t => Of([.. t.Select(task => task.Execution.State)]))];

    /// <summary>The tasks of those that have succeeded.</summary>
    public static List<TaskRow> Succeeded(IReadOnlyList<TaskRow> tasks) =>
        [
            .. tasks
                .GroupBy(t => TargetOf(t, tasks))
                .Where(target => target.All(t => t.Execution.State == BuildStates.Succeeded))
                .SelectMany(target => target),
        ];

    private static string Of(List<string> states) =>
        states.TrueForAll(s => s == BuildStates.Queued) ? BuildStates.Queued
        : !states.TrueForAll(BuildStates.IsDone) ? BuildStates.Running
        : states.TrueForAll(s => s == BuildStates.Succeeded) ? BuildStates.Succeeded
        : BuildStates.Failed;

    // The task that builds its image.
    private static int TargetOf(TaskRow task, IReadOnlyList<TaskRow> all) =>
        all.FirstOrDefault(t => t.Ordinal == task.Source) is { } source ? TargetOf(source, all) : task.Ordinal;
}
