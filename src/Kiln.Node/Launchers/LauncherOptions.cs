using Kiln.Oci;

namespace Kiln.Node.Launchers;

/// <summary>What starts the builds of a node.</summary>
public enum LauncherKind
{
    /// <summary>The node's own process.</summary>
    Local,

    /// <summary>Slurm.</summary>
    Slurm,

    /// <summary>Commands of the site's (docs/guide/slurm.md, "Other batch systems").</summary>
    Command,
}

/// <summary>How a node starts its builds somewhere else: what its operator allows, and nothing else.</summary>
public sealed record LauncherOptions
{
    public LauncherKind Kind { get; init; } = LauncherKind.Local;

    /// <summary>The kinds of machines that there are, in the order of preference.</summary>
    public IReadOnlyList<NodeType> Types { get; init; } = [];

    /// <summary>Builds that are with the batch system at one time, waiting ones included.</summary>
    public int Jobs { get; init; } = 50;

    /// <summary>Where a build keeps its files on its machine; null for what the batch system says in <c>TMPDIR</c>, or /tmp.</summary>
    public string? Scratch { get; init; }

    /// <summary>How <c>kiln</c> is called on those machines; empty for the file that runs here.</summary>
    public IReadOnlyList<string> Program { get; init; } = [];

    /// <summary>Shell that runs before <c>kiln</c> on those machines, for example <c>module load buildah</c>.</summary>
    public string? Setup { get; init; }

    /// <summary>How long a build may wait in the batch system's queue.</summary>
    public TimeSpan MaxWait { get; init; } = TimeSpan.FromDays(1);

    /// <summary>The least time between two questions to the batch system, of whatever kind.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long a lease lives without a sign of life: what a restart of this node may take.</summary>
    public int LeaseSeconds { get; init; } = 120;

    /// <summary>The site's commands, for <see cref="LauncherKind.Command"/>.</summary>
    public IReadOnlyList<string> Submit { get; init; } = [];
    public IReadOnlyList<string> Status { get; init; } = [];
    public IReadOnlyList<string> Cancel { get; init; } = [];
}

/// <summary>A kind of machine: what a build may ask for to be started there, and how the batch system is told.</summary>
public sealed record NodeType
{
    public string Name { get; init; } = "";
    public IReadOnlyList<Platform> Platforms { get; init; } = [];

    /// <summary>Platforms whose programs its machines emulate.</summary>
    public IReadOnlyList<Platform> Emulates { get; init; } = [];

    /// <summary>Names of archspec that all its machines are, or of others whose programs they run.</summary>
    public IReadOnlyList<string> Microarchitectures { get; init; } = [];

    /// <inheritdoc cref="BuildSpec.RecipeTypes"/>
    public IReadOnlyList<string> Recipes { get; init; } = [BuildSpec.RecipeTypes.Dockerfile];

    /// <summary>
    /// The formats that are files which its machines make of images; null for those that the node's own machine makes. What
    /// needs no program is made everywhere.
    /// </summary>
    public IReadOnlyList<string>? Outputs { get; init; }
    public IReadOnlyList<string> Networks { get; init; } =
    [BuildSpec.NetworkModes.Isolated, BuildSpec.NetworkModes.None];

    /// <summary>The most for one build.</summary>
    public int Cpus { get; init; } = 1;
    public long MemoryBytes { get; init; } = 4L << 30;
    public long DiskBytes { get; init; } = 20L << 30;
    public int Gpus { get; init; }

    /// <summary>The most that a job may take there, from its start to the end of its clean-up.</summary>
    public TimeSpan Time { get; init; } = TimeSpan.FromHours(1);

    /// <summary>What a build gets that asks for nothing; null for up to two processors, and up to 4 GiB.</summary>
    public int? DefaultCpus { get; init; }
    public long? DefaultMemoryBytes { get; init; }

    /// <summary>Where its jobs go, by the words of <see cref="Places"/>.</summary>
    public IReadOnlyDictionary<string, string> Place { get; init; } = new Dictionary<string, string>();

    /// <summary>What of a request's <c>backend</c> is honoured: words of <see cref="Places"/>, and their values or <c>*</c>.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Backend { get; init; } =
        new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>How GPUs are asked for; <c>{gpus}</c> stands for their number.</summary>
    public string GpuOption { get; init; } = "--gpus={gpus}";

    /// <summary>What else the batch system is told.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];

    /// <summary>The words that say where a job goes. Slurm has an option of the same name for each.</summary>
    public static IReadOnlyList<string> Places { get; } = ["partition", "constraint", "account", "qos", "reservation"];
}
