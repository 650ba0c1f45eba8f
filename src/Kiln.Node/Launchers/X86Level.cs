using Kiln.Oci;

namespace Kiln.Node.Launchers;

/// <summary>The levels of the x86-64 psABI, by what Linux says of the first processor.</summary>
internal static class X86Level
{
    private static readonly Dictionary<string, string[]> Flags = new(StringComparer.Ordinal)
    {
        ["v2"] = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"],
        ["v3"] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"],
        ["v4"] = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
    };

    /// <summary>Whether this machine cannot run what is made for a platform. Nothing is known of other architectures.</summary>
    public static bool Lacks(Platform platform)
    {
        if (platform is not { Architecture: "amd64", Variant: { } variant } || !Flags.ContainsKey(variant))
        {
            return false;
        }

        var line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("flags", StringComparison.Ordinal));
        return line is not null && Lacks(variant, line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..]);
    }

    /// <summary>The same for what the kernel calls the processor's flags.</summary>
    public static bool Lacks(string variant, string flags)
    {
        var there = flags.Split(' ').ToHashSet(StringComparer.Ordinal);
        return Flags
            .Where(level => string.CompareOrdinal(level.Key, variant) <= 0)
            .Any(level => level.Value.Any(flag => !there.Contains(flag)));
    }
}
