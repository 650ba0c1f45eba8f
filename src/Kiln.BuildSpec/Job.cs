using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>A job as clients see it. Terminal states never change; <see cref="Revision"/> grows with every change.</summary>
public sealed record Job
{
    public required string Id { get; init; }
    public required string Repository { get; init; }
    public required string Href { get; init; }
    public required string State { get; init; }
    public required bool Done { get; init; }
    public string? Reason { get; init; }
    public string? Message { get; init; }
    public required int Revision { get; init; }
    public required DateTimeOffset Created { get; init; }
    public DateTimeOffset? Started { get; init; }
    public DateTimeOffset? Finished { get; init; }
    public required string CreatedBy { get; init; }
    public required string Trigger { get; init; }

    /// <summary>True where every task was answered from an earlier result.</summary>
    public bool Cached { get; init; }
    public required JobRecipe Recipe { get; init; }
    public required IReadOnlyList<string> Tags { get; init; }

    /// <summary>What is delivered beside the images themselves; null where nothing is.</summary>
    public IReadOnlyList<BuildOutput>? Outputs { get; init; }

    /// <summary>True where the images are flattened.</summary>
    public bool? Flatten { get; init; }
    public required IReadOnlyList<JobTask> Tasks { get; init; }
    public JobResult? Result { get; init; }
    public required JobLinks Links { get; init; }
}

/// <summary>Which recipe artifact a job builds.</summary>
public sealed record JobRecipe
{
    /// <summary>Digest of the recipe artifact's manifest.</summary>
    public required Digest Digest { get; init; }
    public required string Type { get; init; }
}

/// <summary>One target of a job and the execution that it is subscribed to.</summary>
public sealed record JobTask
{
    public required string Id { get; init; }
    public required string Platform { get; init; }
    public string? Microarchitecture { get; init; }
    public required string Format { get; init; }

    /// <summary>The task of whose product this one makes something; null where it builds the recipe.</summary>
    public string? Source { get; init; }
    public required string State { get; init; }
    public string? Phase { get; init; }

    /// <summary>What the phase is at, for example <c>step 3/9: RUN make</c>.</summary>
    public string? Progress { get; init; }
    public required int Attempt { get; init; }
    public string? Node { get; init; }

    /// <summary>True where its steps ran, or run, on a machine that emulates the target's processor.</summary>
    public bool? Emulated { get; init; }

    /// <summary>The build key (build-extension, "Caching and dedupe").</summary>
    public required string Key { get; init; }

    /// <summary>The execution; jobs with identical requests share one.</summary>
    public required string Execution { get; init; }

    /// <summary>True where this task was answered by an execution that another job had started.</summary>
    public bool Shared { get; init; }
    public bool Cached { get; init; }
    public required string Logs { get; init; }

    /// <summary>The build's own exit code, where it had one.</summary>
    public int? ExitCode { get; init; }

    /// <summary>Jobs ahead in the queue; null once it runs.</summary>
    public int? QueuePosition { get; init; }
    public BuildConfinement? Confinement { get; init; }
    public ImageHints? Hints { get; init; }

    /// <summary>What was changed where the image was flattened.</summary>
    public FlattenReport? Flattening { get; init; }
    public IReadOnlyList<BuildStep>? Steps { get; init; }
    public IReadOnlyList<ResolvedDependency>? ResolvedDependencies { get; init; }
}

/// <summary>A step of the recipe as the engine reports it.</summary>
public sealed record BuildStep
{
    /// <summary>Counted from 1, over all stages.</summary>
    public required int Number { get; init; }
    public required int Total { get; init; }

    /// <summary>The instruction as written, shortened to 200 characters.</summary>
    public required string Text { get; init; }
    public bool Cached { get; init; }

    /// <summary>Milliseconds that it took; null while it runs.</summary>
    public long? Milliseconds { get; init; }
}

/// <summary>What was in force around a build.</summary>
public sealed record BuildConfinement
{
    /// <summary>How the steps are kept apart, for example <c>namespaces</c> or <c>unsafe-none</c>.</summary>
    public required string Isolation { get; init; }

    /// <inheritdoc cref="RootMethods"/>
    public required string Root { get; init; }
    public required string Network { get; init; }

    /// <summary>How limits are kept: <c>cgroup2</c> or <c>rlimits+watcher</c>.</summary>
    public required string Limits { get; init; }
    public long? MemoryBytes { get; init; }
    public long? DiskBytes { get; init; }
    public int? Processes { get; init; }
    public int? TimeoutSeconds { get; init; }
    public string? Engine { get; init; }

    /// <summary>What ran the programs of another family of processors, with its version; null where none were emulated.</summary>
    public string? Emulation { get; init; }
}

/// <summary>What a finished image is good for, measured from its layers.</summary>
public sealed record ImageHints
{
    /// <summary><c>required</c>, <c>allow</c> or <c>caution</c>.</summary>
    public required string FlattenOwnership { get; init; }

    /// <summary><c>allow</c> or <c>caution</c>.</summary>
    public required string FlattenMode { get; init; }
    public required IReadOnlyList<int> Owners { get; init; }
    public required IReadOnlyList<int> Groups { get; init; }

    /// <summary>Files with a set-user-ID or set-group-ID bit.</summary>
    public required int SetIdFiles { get; init; }

    /// <summary>Files with a <c>security.capability</c> attribute.</summary>
    public required int CapabilityFiles { get; init; }

    /// <summary>Bytes of all files of the flattened image.</summary>
    public required long UncompressedBytes { get; init; }

    /// <summary>Inodes of the flattened image.</summary>
    public required long Files { get; init; }

    /// <summary>Why a verdict is <c>caution</c>: paths and what is special about them, at most 20.</summary>
    public IReadOnlyList<string>? Reasons { get; init; }

    /// <summary>In archspec's words, the least processor that is declared as needed: <c>x86_64_v3</c>.</summary>
    public string? CpuTarget { get; init; }

    /// <summary>The version of glibc in the image.</summary>
    public string? Glibc { get; init; }

    /// <summary>Families of MPI by their ABI: <c>openmpi</c>, <c>mpich</c>.</summary>
    public IReadOnlyList<string>? Mpi { get; init; }

    /// <summary>Which MPI it is, where that can be told.</summary>
    public IReadOnlyList<string>? MpiImplementation { get; init; }

    /// <summary><c>cuda</c>, <c>rocm</c>, <c>opencl</c>, <c>level-zero</c>.</summary>
    public IReadOnlyList<string>? Gpu { get; init; }

    /// <summary><c>libfabric</c>, <c>ucx</c>.</summary>
    public IReadOnlyList<string>? Communication { get; init; }
}

/// <summary>Something outside the recipe that went into a build, pinned (SLSA resolvedDependencies).</summary>
public sealed record ResolvedDependency
{
    public required string Uri { get; init; }
    public required Digest Digest { get; init; }
}

/// <summary>What a job delivered.</summary>
public sealed record JobResult
{
    /// <summary>The index that the tags point at.</summary>
    public required Descriptor Manifest { get; init; }
    public required IReadOnlyList<string> Tags { get; init; }
    public required IReadOnlyList<JobResultOutput> Outputs { get; init; }
}

/// <summary>One delivered image.</summary>
public sealed record JobResultOutput
{
    public required string Platform { get; init; }
    public required string Format { get; init; }
    public required Descriptor Manifest { get; init; }

    /// <inheritdoc cref="JobTask.Emulated"/>
    public bool? Emulated { get; init; }

    /// <summary>The tags that point at it itself, where it is not the image.</summary>
    public IReadOnlyList<string>? Tags { get; init; }

    /// <inheritdoc cref="JobTask.Flattening"/>
    public FlattenReport? Flattening { get; init; }
    public long? UnpackedBytes { get; init; }
    public long? Files { get; init; }

    /// <inheritdoc cref="BuildEvidence.Provenance"/>
    public IReadOnlyList<Descriptor>? Provenance { get; init; }

    /// <inheritdoc cref="BuildEvidence.Log"/>
    public Descriptor? Log { get; init; }

    /// <inheritdoc cref="BuildEvidence.Hints"/>
    public Descriptor? Hints { get; init; }
}

/// <summary>What the registry attached to a product.</summary>
public sealed record BuildEvidence
{
    /// <summary>Manifests with the statement of how it was made: plain, and signed where the registry signs.</summary>
    public required IReadOnlyList<Descriptor> Provenance { get; init; }

    /// <summary>The manifest with the whole log; null where logs are not attached.</summary>
    public Descriptor? Log { get; init; }

    /// <summary>The manifest with what it is good for; null where a layer could not be read.</summary>
    public Descriptor? Hints { get; init; }
}

/// <summary>Where to go from a job.</summary>
public sealed record JobLinks
{
    public required string Logs { get; init; }
    public required string Cancel { get; init; }
}

/// <summary>A page of jobs, newest first; the next page is in the <c>Link</c> header.</summary>
public sealed record JobList
{
    public required IReadOnlyList<Job> Jobs { get; init; }
}
