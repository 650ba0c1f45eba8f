using Kiln.Oci;

namespace Kiln.Node.Machine;

/// <summary>What images this machine runs.</summary>
public static class ThisMachine
{
    /// <summary>The highest platform, and the micro-architecture by archspec's name; null where nothing is known of it.</summary>
    public static (Platform Platform, string? Microarchitecture) Read()
    {
        var processor = Processor.Read(MachineRoot.This, MachineProbe.HostArchitecture);
        return (processor.Platform, processor.Microarchitecture?.Name);
    }
}
