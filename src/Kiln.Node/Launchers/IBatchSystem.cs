namespace Kiln.Node.Launchers;

/// <summary>
/// A batch system as a launching node sees it. One call is one question to it; <see cref="BatchDesk"/> asks one at a time,
/// and never oftener than the operator allows.
/// </summary>
internal interface IBatchSystem
{
    /// <summary>How it is called in sentences.</summary>
    string Name { get; }

    /// <summary>Why it cannot be used from here; null where it can.</summary>
    Task<string?> UnavailableAsync(CancellationToken cancel);

    Task<Submission> SubmitAsync(BatchOrder order, CancellationToken cancel);

    /// <summary>The states of jobs, in one question; jobs of others may be among them. Those that it has forgotten are not.</summary>
    /// <exception cref="BatchAwayException">It does not answer.</exception>
    Task<IReadOnlyList<BatchJob>> ListAsync(IReadOnlyList<BatchTicket> wanted, CancellationToken cancel);

    /// <summary>What is still known of a job that is in no list any more; null where nothing is.</summary>
    /// <exception cref="BatchAwayException">It does not answer.</exception>
    Task<BatchJob?> LookUpAsync(BatchTicket ticket, CancellationToken cancel);

    /// <summary>Ends jobs. Those that have ended are no fault.</summary>
    /// <exception cref="BatchAwayException">It does not answer.</exception>
    Task CancelAsync(IReadOnlyList<string> jobs, CancellationToken cancel);
}

/// <summary>What is to be submitted.</summary>
/// <param name="Name">By which the job is found again; no other job has it.</param>
/// <param name="Shape">Null where it may only be looked for: what was claimed under other types fits none of today's.</param>
internal sealed record BatchOrder(string Name, JobShape? Shape, string Script, string Output)
{
    /// <summary>Why it is not submitted, where there is no shape for it.</summary>
    public string Unsubmittable { get; init; } = "";

    /// <exception cref="InvalidOperationException">It may only be looked for.</exception>
    public JobShape Wanted => Shape ?? throw new InvalidOperationException($"{Name} is not to be submitted");
}

/// <summary>What became of a submission.</summary>
internal enum SubmissionKind
{
    Accepted,

    /// <summary>It will never take this one.</summary>
    Refused,

    /// <summary>It did not take it, and may later.</summary>
    Later,

    /// <summary>Nobody knows whether it took it.</summary>
    Unknown,
}

/// <param name="Text">The job where it was accepted, else what was said.</param>
internal sealed record Submission(SubmissionKind Kind, string Text);

/// <summary>Where a job is.</summary>
internal enum BatchState
{
    Pending,
    Running,

    /// <summary>It ran, and was put back into the queue.</summary>
    Requeued,

    /// <summary>It ended by itself, with whatever exit code.</summary>
    Ended,
    Canceled,
    TimedOut,
    NodeFailed,
    Preempted,
    OutOfMemory,
}

/// <param name="Word">The batch system's own word for the state.</param>
/// <param name="Reason">Why it is in that state; empty where nothing is said.</param>
/// <param name="Node">Where it runs or ran; empty where nothing is said.</param>
internal sealed record BatchJob(string Id, string Name, BatchState State, string Word, string Reason, string Node)
{
    public bool IsOver => State > BatchState.Requeued;
}

/// <summary>The batch system does not answer now; what it has, it may go on with.</summary>
internal sealed class BatchAwayException(string message) : Exception(message);
