using Kiln.BuildSpec;

namespace Kiln.Server.Builds.Queue;

/// <summary>Who takes an execution, and whose they may take.</summary>
/// <param name="Name">By its credential, whatever it calls itself; stands in the job as its node.</param>
internal sealed record Claimant(string Name)
{
    /// <summary>Whether the node runs in this server and ends with it.</summary>
    public bool Local { get; init; }

    /// <summary>Only executions of the repository of this name; null for all.</summary>
    public string? Repository { get; init; }

    /// <summary>
    /// Whether it may build what a requester (second) asked for in a repository (first); null where it may everything.
    /// </summary>
    public Func<string, string, bool>? MayBuildFor { get; init; }

    /// <summary>Whether it may build its own jobs in a repository.</summary>
    public Func<string, bool>? MayBuildOwn { get; init; }

    /// <summary>The claim's <c>Idempotency-Key</c>, and a hash of the claim; null where it brought none.</summary>
    public (string Key, string Hash)? Repeatable { get; init; }
}

/// <summary>What was taken for a lease.</summary>
/// <param name="Lease">The new lease's id; it is in the execution's row already.</param>
internal sealed record Claimed(ExecutionRow Execution, Claimant By, LeaseClaim Claim, string Lease, int Seconds);
