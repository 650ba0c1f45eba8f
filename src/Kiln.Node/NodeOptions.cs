using Kiln.Client.Credentials;

namespace Kiln.Node;

/// <summary>What a build node was told. Sizes in bytes.</summary>
public sealed record NodeOptions
{
    /// <summary>Where the node keeps bases, cached steps and builds under way. Nothing else may be in it.</summary>
    public required string Directory { get; init; }

    /// <summary>
    /// A directory on a disk of the machine's own, below which all that is kept where the file system of <see cref="Directory"/>
    /// (NFS, or another container's overlay) takes no overlays; null where nothing may be kept anywhere else.
    /// </summary>
    public string? OtherDisk { get; init; } =
        Environment.GetEnvironmentVariable("TMPDIR") is { Length: > 0 } temporary ? temporary : "/var/tmp";
    public required string Name { get; init; }
    public int Concurrency { get; init; } = 1;

    /// <summary>What else there is to say about the node, for people.</summary>
    public IReadOnlyDictionary<string, string>? Labels { get; init; }
    public bool Unsafe { get; init; }

    /// <summary>Builds have this user's own id only, under root emulation, also where it has a range of subordinate ids.</summary>
    public bool SingleId { get; init; }
    public bool AllowHostNetwork { get; init; }

    /// <summary>Whether it builds for platforms whose programs this machine runs by emulation.</summary>
    public bool AllowEmulation { get; init; } = true;

    /// <summary>A root file system from which Apptainer is taken; null for the machine's own.</summary>
    public string? ApptainerRoot { get; init; }

    /// <summary>On a stop the lease is left as it is, for whoever started this process to judge; else it is given back.</summary>
    public bool LeavesLease { get; init; }
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>Logins of the node's own for bases, where a lease brings none; nobody's otherwise.</summary>
    public ICredentialSource BaseLogins { get; init; } = NoCredentials.Instance;

    public long MemoryBytes { get; init; } = 8L << 30;
    public long DiskBytes { get; init; } = 20L << 30;
    public int Processes { get; init; } = 1024;
    public long FreeDiskFloorBytes { get; init; } = 512L << 20;
    public long MaxContextBytes { get; init; } = 2L << 30;

    /// <summary>Base images that stay on the node, and the bytes of their blobs together; those in use always do.</summary>
    public int MaxBases { get; init; } = 32;
    public long MaxBaseBytes { get; init; } = 16L << 30;
}
