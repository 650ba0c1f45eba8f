namespace Kiln.Node.Machine;

/// <summary>What a machine is, as far as builds care. What could not be found out is absent.</summary>
public sealed record MachineFacts
{
    /// <summary>The highest platform for which it builds, such as <c>linux/amd64/v3</c>.</summary>
    public required string Platform { get; init; }

    /// <summary>By archspec's name, such as <c>zen3</c> or <c>x86_64_v3</c>.</summary>
    public string? Microarchitecture { get; init; }

    /// <summary>What its processor says of itself.</summary>
    public string? Processor { get; init; }

    /// <summary>Processors that this process may use.</summary>
    public required int Cpus { get; init; }
    public long? MemoryBytes { get; init; }
    public string? Kernel { get; init; }

    /// <summary>The version of the C library; null where it is another than glibc.</summary>
    public string? Glibc { get; init; }

    /// <summary>Programs that run those of other families of processors, such as <c>qemu-aarch64-static</c>.</summary>
    public IReadOnlyList<string> Emulators { get; init; } = [];
    public IReadOnlyList<GpuFacts> Gpus { get; init; } = [];
    public required KernelLimits Limits { get; init; }
}

/// <summary>The GPUs of one maker.</summary>
/// <param name="Vendor"><c>nvidia</c>, <c>amd</c> or <c>intel</c>.</param>
/// <param name="Count">How many; 0 where only the driver is there.</param>
/// <param name="Driver">The driver's version.</param>
/// <param name="Models">Their names, where the driver tells them.</param>
public sealed record GpuFacts(string Vendor, int Count, string? Driver, IReadOnlyList<string> Models);

/// <summary>What the kernel and the site let an ordinary account do.</summary>
public sealed record KernelLimits
{
    /// <summary>How many user namespaces there may be; 0 is none.</summary>
    public long? MaxUserNamespaces { get; init; }

    /// <summary>False where only root may make user namespaces (a switch of Debian's kernels).</summary>
    public bool UnprivilegedUserNamespaces { get; init; } = true;

    /// <summary>Whether AppArmor takes the rights away that a user namespace gives (Ubuntu's default).</summary>
    public bool AppArmorRestricts { get; init; }

    /// <summary>Subordinate ids of this account; 0 where it has none.</summary>
    public long SubordinateUids { get; init; }
    public long SubordinateGids { get; init; }

    /// <summary>Whether <c>newuidmap</c> and <c>newgidmap</c> are installed.</summary>
    public bool IdMapTools { get; init; }

    /// <summary>Whether overlay file systems can be mounted in a user namespace (Linux 5.11).</summary>
    public bool OverlayInUserNamespaces { get; init; }

    /// <summary>Whether a user namespace can have emulators of its own (binfmt_misc, Linux 6.7).</summary>
    public bool EmulatorsInUserNamespaces { get; init; }

    /// <summary>Whether <c>/dev/fuse</c> is there.</summary>
    public bool Fuse { get; init; }

    /// <summary>Whether the kernel has seccomp filters.</summary>
    public bool Seccomp { get; init; }

    /// <summary>Whether there is one hierarchy of control groups (version 2).</summary>
    public bool UnifiedControlGroups { get; init; }
}
