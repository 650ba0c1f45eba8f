using System.Globalization;
using Kiln.BuildSpec.Architectures;
using Kiln.Oci;

namespace Kiln.Node.Machine;

/// <summary>The first processor of a machine, by what Linux says of it.</summary>
/// <param name="Architecture">Go's name of the family.</param>
/// <param name="Vendor">Its <c>vendor_id</c>; empty on others than x86.</param>
/// <param name="Part">Implementer and part of an ARM processor, <c>0x41/0xd0c</c>.</param>
/// <param name="Model">Its name; null where there is none.</param>
/// <param name="Flags">What it can.</param>
internal sealed record Processor(
    string Architecture,
    string Vendor,
    string Part,
    string? Model,
    IReadOnlySet<string> Flags
)
{
    private const string CpuInfo = "proc/cpuinfo";

    /// <summary>Its name in archspec's words; null where nothing is known of the family.</summary>
    public Microarchitecture? Microarchitecture => Microarchitectures.Detect(Architecture, Vendor, Part, Flags);

    /// <summary>The highest for which it builds.</summary>
    public Platform Platform =>
        new(
            "linux",
            Architecture,
            Microarchitecture is { } micro && Architecture == "amd64" ? Microarchitectures.VariantOf(micro.Name) : null
        );

    /// <summary>The names that it builds for beyond its platforms, the most special first.</summary>
    public IReadOnlyList<string> Names =>
        Microarchitecture is not { } micro
            ? []
            :
            [
                .. Microarchitectures
                    .RunsOn(micro.Name)
                    .Where(n => n != "aarch64" && !n.StartsWith("x86_64", StringComparison.Ordinal)),
            ];

    public static Processor Read(MachineRoot root, string architecture)
    {
        // The first one's block; all of a machine are taken to be the same.
        var said = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in root.Lines(CpuInfo).TakeWhile(l => l.Trim().Length > 0))
        {
            if (line.Split(':', 2) is [var name, var value])
            {
                said.TryAdd(name.Trim(), value.Trim());
            }
        }

        var flags = said.GetValueOrDefault("flags") ?? said.GetValueOrDefault("Features") ?? "";
        return new Processor(
            architecture,
            said.GetValueOrDefault("vendor_id") ?? "",
            said.TryGetValue("CPU implementer", out var implementer)
                ? $"{implementer}/{said.GetValueOrDefault("CPU part")}"
                : "",
            said.GetValueOrDefault("model name"),
            flags.Split(' ', StringSplitOptions.RemoveEmptyEntries).ToHashSet(StringComparer.Ordinal)
        );
    }

    /// <summary>How many there are in the machine.</summary>
    public static int Count(MachineRoot root) =>
        Math.Max(1, root.Lines(CpuInfo).Count(l => l.StartsWith("processor", StringComparison.Ordinal)));

    /// <summary>The memory of the machine; null where it is not said.</summary>
    public static long? Memory(MachineRoot root) =>
        root.Lines("proc/meminfo").FirstOrDefault(l => l.StartsWith("MemTotal:", StringComparison.Ordinal)) is { } line
        && long.TryParse(
            line["MemTotal:".Length..].Replace("kB", "", StringComparison.Ordinal).Trim(),
            NumberStyles.None,
            CultureInfo.InvariantCulture,
            out var kilobytes
        )
            ? kilobytes * 1024
            : null;
}
