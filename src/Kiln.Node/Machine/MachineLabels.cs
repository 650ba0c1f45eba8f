using System.Globalization;

namespace Kiln.Node.Machine;

/// <summary>What a node tells the registry of its machine beyond what requests can ask for, as labels for people.</summary>
public static class MachineLabels
{
    // What a registry takes (LeaseClaim.Labels).
    private const int MaxLength = 256;

    public static IReadOnlyDictionary<string, string> Of(MachineFacts machine)
    {
        var limits = machine.Limits;
        var said = new (string Name, string? Value)[]
        {
            ("processor", machine.Processor),
            ("microarchitecture", machine.Microarchitecture),
            ("gpus", machine.Gpus.Count == 0 ? null : string.Join("; ", machine.Gpus.Select(Gpu))),
            ("memory", machine.MemoryBytes is { } bytes ? $"{bytes >> 30} GiB" : null),
            ("kernel", machine.Kernel),
            ("glibc", machine.Glibc),
            ("user-namespaces", Namespaces(limits)),
            (
                "subordinate-ids",
                Math.Min(limits.SubordinateUids, limits.SubordinateGids).ToString(CultureInfo.InvariantCulture)
            ),
            ("overlay", YesNo(limits.OverlayInUserNamespaces)),
            ("seccomp", YesNo(limits.Seccomp)),
        };
        return said.Where(s => s.Value is { Length: > 0 })
            .ToDictionary(
                s => s.Name,
                s => s.Value!.Length <= MaxLength ? s.Value : s.Value[..MaxLength],
                StringComparer.Ordinal
            );
    }

    /// <summary>The GPUs of one maker, in words.</summary>
    public static string Gpu(GpuFacts gpu)
    {
        var count = gpu.Count.ToString(CultureInfo.InvariantCulture);
        var models = gpu.Models.Count == 0 ? "" : $" ({string.Join(", ", gpu.Models)})";
        return $"{count} {gpu.Vendor}{models}, driver {gpu.Driver ?? "unknown"}";
    }

    /// <summary>Whether this account has user namespaces, in words.</summary>
    public static string Namespaces(KernelLimits limits) =>
        limits.MaxUserNamespaces is 0 || !limits.UnprivilegedUserNamespaces ? "no"
        : limits.AppArmorRestricts ? "restricted by AppArmor"
        : "yes";

    /// <summary><c>yes</c> or <c>no</c>.</summary>
    public static string YesNo(bool value) => value ? "yes" : "no";
}
