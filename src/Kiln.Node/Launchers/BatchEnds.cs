using Kiln.BuildSpec;

namespace Kiln.Node.Launchers;

/// <summary>
/// What the registry is told of a job that ended without having told it itself. What may end differently another time is
/// given back as such, and the registry decides whether there is another time; nothing is ever started again from here.
/// </summary>
internal static class BatchEnds
{
    private const int MaxMessage = 8000;

    /// <summary>The end that a job has by its state, where that is one.</summary>
    public static BatchEndKind KindOf(BatchState state) =>
        state switch
        {
            BatchState.Canceled => BatchEndKind.Canceled,
            BatchState.TimedOut => BatchEndKind.TimedOut,
            BatchState.NodeFailed => BatchEndKind.NodeFailed,
            BatchState.Preempted => BatchEndKind.Preempted,
            BatchState.OutOfMemory => BatchEndKind.OutOfMemory,
            _ => BatchEndKind.Ended,
        };

    /// <param name="output">The end of what the job printed.</param>
    /// <param name="canceled">Whether the registry wanted it ended.</param>
    public static LeaseResult ResultOf(BatchEnd end, BatchTicket ticket, string system, string output, bool canceled)
    {
        if (canceled)
        {
            return new LeaseResult { State = BuildStates.Canceled };
        }

        var job = ticket.Job is null ? "the job" : $"{system} job {ticket.Job}";
        var node = end.Job?.Node is { Length: > 0 } name ? $" on {name}" : "";
        var shape = ticket.Order.Shape;
        var (reason, again, message) = end.Kind switch
        {
            BatchEndKind.Refused => (FailureReasons.SystemError, false, $"{system} refused the job: {end.Text}"),
            BatchEndKind.Canceled => (
                FailureReasons.SystemError,
                false,
                $"{job} was cancelled at the batch system, and not by this registry; ask its operators, or ask for the build again"
            ),
            BatchEndKind.TimedOut => (
                FailureReasons.Timeout,
                false,
                $"{job}{node} ran into its time limit{Of(shape?.JobMinutes, "min")} and was ended by {system}"
            ),
            BatchEndKind.OutOfMemory => (
                FailureReasons.LimitExceeded,
                false,
                $"{job}{node} used more memory than its limit{Of(shape?.JobMebibytes, "MiB")} and was ended by {system}; ask for more with resources.memoryBytes"
            ),
            BatchEndKind.NodeFailed => (FailureReasons.SystemError, true, $"the machine of {job} failed{node}"),
            BatchEndKind.Preempted => (
                FailureReasons.SystemError,
                true,
                $"{job}{node} was preempted: it had to make room for another"
            ),
            BatchEndKind.Requeued => (
                FailureReasons.SystemError,
                true,
                $"{job} was put back into the queue by {system}, and cancelled there so that it does not run twice"
            ),
            BatchEndKind.WaitedTooLong => (
                FailureReasons.SystemError,
                false,
                $"{job} waited longer in the queue than this node lets it, and was cancelled"
            ),
            BatchEndKind.Lost => (FailureReasons.SystemError, true, $"{system} knows nothing of {job} any more"),
            _ => (FailureReasons.SystemError, true, $"{job}{node} ended without a result"),
        };
        var said = end is { Text: { Length: > 0 } text, Kind: not BatchEndKind.Refused } ? $" ({text})" : "";
        var words = ShowsOutput(end.Kind) ? Words(output) : "";
        var printed = words.Length == 0 ? "" : $"; its last words: {words}";
        var whole = message + said + printed;
        return new LeaseResult
        {
            State = BuildStates.Failed,
            Reason = reason,
            Message = whole.Length > MaxMessage ? whole[..MaxMessage] : whole,
            Retryable = again,
        };
    }

    // What is told of a start that went well says nothing of the end, and hides what does.
    private static string Words(string output) =>
        string.Join('\n', output.Split('\n').Where(line => !line.StartsWith("info: ", StringComparison.Ordinal)))
            .Trim();

    // Where it is not known, a sentence does without.
    private static string Of(int? limit, string unit) => limit is { } number ? $" of {number} {unit}" : "";

    private static bool ShowsOutput(BatchEndKind kind) => kind is BatchEndKind.Ended or BatchEndKind.OutOfMemory;
}
