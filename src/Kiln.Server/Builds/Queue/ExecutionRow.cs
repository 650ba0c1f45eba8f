using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Queue;

/// <summary>A row of <c>executions</c>. Times in Unix milliseconds; what is JSON in the table is text here.</summary>
internal sealed record ExecutionRow
{
    /// <summary>The columns in the order in which <see cref="Map"/> reads them.</summary>
    public const string Columns =
        "id, repository, key, requested_by, platform, recipe_type, format, task, state, reason, message, exit_code, "
        + "phase, progress, steps, confinement, dependencies, hints, attempt, node, lease, lease_expires, lease_local, "
        + "result_lease, result_hash, cancel, manifest, log_size, log_truncated, queued, started, finished, evidence, emulated, flattening";

    public required string Id { get; init; }
    public required long Repository { get; init; }
    public required string Key { get; init; }
    public required string RequestedBy { get; init; }
    public required string Platform { get; init; }
    public required string RecipeType { get; init; }
    public required string Format { get; init; }
    public required string Task { get; init; }
    public required string State { get; init; }
    public string? Reason { get; init; }
    public string? Message { get; init; }
    public int? ExitCode { get; init; }
    public string? Phase { get; init; }
    public string? Progress { get; init; }
    public string? Steps { get; init; }
    public string? Confinement { get; init; }
    public string? Dependencies { get; init; }
    public string? Hints { get; init; }
    public int Attempt { get; init; }
    public string? Node { get; init; }
    public string? Lease { get; init; }
    public long? LeaseExpires { get; init; }
    public bool LeaseLocal { get; init; }
    public string? ResultLease { get; init; }
    public string? ResultHash { get; init; }
    public bool Cancel { get; init; }
    public string? Manifest { get; init; }
    public long LogSize { get; init; }
    public bool LogTruncated { get; init; }
    public long Queued { get; init; }
    public long? Started { get; init; }
    public long? Finished { get; init; }

    /// <summary>JSON of <see cref="BuildSpec.BuildEvidence"/>: what was attached to the product.</summary>
    public string? Evidence { get; init; }

    /// <summary>Whether the node that has it, or had it last, emulates its platform.</summary>
    public bool Emulated { get; init; }

    /// <summary>JSON of <see cref="BuildSpec.FlattenReport"/>: what was changed where an image was flattened.</summary>
    public string? Flattening { get; init; }

    public static ExecutionRow Map(DbDataReader row) =>
        new()
        {
            Id = row.GetString(0),
            Repository = row.GetInt64(1),
            Key = row.GetString(2),
            RequestedBy = row.GetString(3),
            Platform = row.GetString(4),
            RecipeType = row.GetString(5),
            Format = row.GetString(6),
            Task = row.GetString(7),
            State = row.GetString(8),
            Reason = row.TextOrNull(9),
            Message = row.TextOrNull(10),
            ExitCode = (int?)row.LongOrNull(11),
            Phase = row.TextOrNull(12),
            Progress = row.TextOrNull(13),
            Steps = row.TextOrNull(14),
            Confinement = row.TextOrNull(15),
            Dependencies = row.TextOrNull(16),
            Hints = row.TextOrNull(17),
            Attempt = row.GetInt32(18),
            Node = row.TextOrNull(19),
            Lease = row.TextOrNull(20),
            LeaseExpires = row.LongOrNull(21),
            LeaseLocal = row.GetInt64(22) != 0,
            ResultLease = row.TextOrNull(23),
            ResultHash = row.TextOrNull(24),
            Cancel = row.GetInt64(25) != 0,
            Manifest = row.TextOrNull(26),
            LogSize = row.GetInt64(27),
            LogTruncated = row.GetInt64(28) != 0,
            Queued = row.GetInt64(29),
            Started = row.LongOrNull(30),
            Finished = row.LongOrNull(31),
            Evidence = row.TextOrNull(32),
            Emulated = row.GetInt64(33) != 0,
            Flattening = row.TextOrNull(34),
        };
}

/// <summary>How an execution came out of a state, written with the change of state.</summary>
internal sealed record ExecutionOutcome
{
    public static readonly ExecutionOutcome None = new();

    public string? Reason { get; init; }
    public string? Message { get; init; }
    public int? ExitCode { get; init; }

    /// <summary>The product.</summary>
    public Descriptor? Manifest { get; init; }
    public string? Hints { get; init; }
    public string? Dependencies { get; init; }
    public string? Evidence { get; init; }
    public string? Flattening { get; init; }
    public string? Steps { get; init; }
    public string? Confinement { get; init; }

    /// <summary>The accepted result, so that its repetition is known.</summary>
    public string? ResultLease { get; init; }
    public string? ResultHash { get; init; }

    /// <summary>When another attempt may start, in Unix milliseconds.</summary>
    public long NotBefore { get; init; }

    /// <summary>False where going back into the queue uses up no attempt.</summary>
    public bool CountsAttempt { get; init; } = true;
}
