using System.Collections.Frozen;
using Kiln.BuildSpec;

namespace Kiln.Server.Builds.Queue;

/// <summary>What can happen to an execution.</summary>
internal enum ExecutionEvent
{
    /// <summary>A node took it.</summary>
    Claimed,

    /// <summary>Its lease was lost or given back, or it failed in a way that another attempt may not.</summary>
    Returned,

    /// <summary>Nobody wants it any more.</summary>
    Unwanted,
    Succeeded,
    Failed,

    /// <summary>Its node ended it, as it was told.</summary>
    Ended,
}

/// <summary>
/// The state machine of executions, whole (build-extension, "State machine"). What is not in the table cannot happen:
/// an event that comes too late, for example, changes nothing.
/// </summary>
internal static class ExecutionStates
{
    private static readonly FrozenDictionary<(string From, ExecutionEvent What), string> Table = new Dictionary<
        (string, ExecutionEvent),
        string
    >
    {
        [(BuildStates.Queued, ExecutionEvent.Claimed)] = BuildStates.Running,
        [(BuildStates.Queued, ExecutionEvent.Unwanted)] = BuildStates.Canceled,
        [(BuildStates.Queued, ExecutionEvent.Failed)] = BuildStates.Failed,

        [(BuildStates.Running, ExecutionEvent.Returned)] = BuildStates.Queued,
        [(BuildStates.Running, ExecutionEvent.Unwanted)] = BuildStates.Canceling,
        [(BuildStates.Running, ExecutionEvent.Succeeded)] = BuildStates.Succeeded,
        [(BuildStates.Running, ExecutionEvent.Failed)] = BuildStates.Failed,

        // Whatever the node says last: nobody wants the product any more, so nothing is published.
        [(BuildStates.Canceling, ExecutionEvent.Returned)] = BuildStates.Canceled,
        [(BuildStates.Canceling, ExecutionEvent.Succeeded)] = BuildStates.Canceled,
        [(BuildStates.Canceling, ExecutionEvent.Failed)] = BuildStates.Canceled,
        [(BuildStates.Canceling, ExecutionEvent.Ended)] = BuildStates.Canceled,
    }.ToFrozenDictionary();

    /// <summary>The state after <paramref name="what"/>; null where it cannot happen in this state.</summary>
    public static string? After(string state, ExecutionEvent what) => Table.GetValueOrDefault((state, what));

    /// <summary>Whether an execution in this state is in a node's hands.</summary>
    public static bool IsLeased(string state) => state is BuildStates.Running or BuildStates.Canceling;

    /// <summary>
    /// The state of a job, from those of the executions that it still waits for. The first failure decides; all of them
    /// have to succeed.
    /// </summary>
    /// <param name="canceling">Whether its cancel was asked for.</param>
    /// <param name="partial">Whether those that succeed are enough.</param>
    public static string OfJob(bool canceling, IReadOnlyCollection<string> executions, bool partial = false) =>
        canceling ? (executions.All(BuildStates.IsDone) ? BuildStates.Canceled : BuildStates.Canceling)
        : partial && executions.All(BuildStates.IsDone) && executions.Contains(BuildStates.Succeeded)
            ? BuildStates.Succeeded
        : partial && !executions.All(BuildStates.IsDone)
            ? (executions.All(s => s == BuildStates.Queued) ? BuildStates.Queued : BuildStates.Running)
        : executions.Any(s => s is BuildStates.Failed or BuildStates.Canceled) ? BuildStates.Failed
        : executions.All(s => s == BuildStates.Succeeded) ? BuildStates.Succeeded
        : executions.All(s => s == BuildStates.Queued) ? BuildStates.Queued
        : BuildStates.Running;
}
