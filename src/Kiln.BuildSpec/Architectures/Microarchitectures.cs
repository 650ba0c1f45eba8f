using Kiln.Oci;

namespace Kiln.BuildSpec.Architectures;

/// <summary>
/// The micro-architectures that are known by name, and which of them runs what. Names that are not here can still be asked
/// for where a node offers them: they are compared as they are.
/// </summary>
public static class Microarchitectures
{
    private const string Amd64 = "amd64";
    private const string Arm64 = "arm64";
    private const string LevelPrefix = "x86_64_v";
    private const string Intel = "GenuineIntel";
    private const string Amd = "AuthenticAMD";

    // Parents stand before their children. What a level needs is the x86-64 psABI's; LZCNT (abm) is left out: every processor
    // with BMI1 has it, and the kernels of some virtual machines do not show it.
    private static readonly IReadOnlyList<Microarchitecture> Table =
    [
        X("x86_64", "", "", ""),
        X("x86_64_v2", "", "x86_64", "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"),
        X("x86_64_v3", "", "x86_64_v2", "avx avx2 bmi1 bmi2 f16c fma movbe"),
        X("x86_64_v4", "", "x86_64_v3", "avx512f avx512bw avx512cd avx512dq avx512vl"),
        X("core2", Intel, "x86_64", "ssse3 cx16"),
        X("nehalem", Intel, "core2 x86_64_v2", ""),
        X("westmere", Intel, "nehalem", "aes pclmulqdq"),
        X("sandybridge", Intel, "westmere", "avx"),
        X("ivybridge", Intel, "sandybridge", "rdrand f16c fsgsbase"),
        X("haswell", Intel, "ivybridge x86_64_v3", ""),
        X("broadwell", Intel, "haswell", "rdseed adx"),
        X("skylake", Intel, "broadwell", "clflushopt xsavec xsaves"),
        X("skylake_avx512", Intel, "skylake x86_64_v4", "clwb"),
        X("cascadelake", Intel, "skylake_avx512", "avx512_vnni"),
        X("cannonlake", Intel, "skylake x86_64_v4", "avx512vbmi avx512ifma sha_ni"),
        X(
            "icelake",
            Intel,
            "cascadelake cannonlake",
            "avx512_vbmi2 avx512_bitalg avx512_vpopcntdq gfni vaes vpclmulqdq rdpid"
        ),
        X("sapphirerapids", Intel, "icelake", "avx512_bf16 avx512_fp16 avx_vnni amx_tile amx_int8 amx_bf16"),
        X("bulldozer", Amd, "x86_64_v2", "aes pclmulqdq avx xop fma4 sse4a"),
        X("piledriver", Amd, "bulldozer", "bmi1 f16c fma tbm"),
        X("steamroller", Amd, "piledriver", "fsgsbase"),
        X("excavator", Amd, "steamroller x86_64_v3", "rdrand"),
        X("zen", Amd, "x86_64_v3", "aes pclmulqdq sse4a fsgsbase rdseed adx sha_ni clzero clflushopt xsavec xsaves"),
        X("zen2", Amd, "zen", "clwb"),
        X("zen3", Amd, "zen2", "vaes vpclmulqdq"),
        X(
            "zen4",
            Amd,
            "zen3 x86_64_v4",
            "avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni avx512_bitalg avx512_vpopcntdq avx512_bf16 gfni"
        ),
        X("zen5", Amd, "zen4", "avx_vnni movdiri movdir64b avx512_vp2intersect"),
        A("aarch64", "", "fp asimd"),
        A("armv8.1a", "aarch64", "atomics crc32 asimdrdm"),
        A("armv8.2a", "armv8.1a", "dcpop"),
        A("armv8.3a", "armv8.2a", "jscvt fcma lrcpc paca pacg"),
        A("armv8.4a", "armv8.3a", "asimddp uscat ilrcpc flagm dit"),
        A("armv8.5a", "armv8.4a", "sb frint flagm2"),
        A("armv9.0a", "armv8.5a", "sve2"),
        A("cortex_a72", "aarch64", "aes pmull sha1 sha2 crc32", "0x41/0xd08"),
        A("neoverse_n1", "cortex_a72 armv8.2a", "asimddp fphp asimdhp lrcpc", "0x41/0xd0c"),
        A("neoverse_v1", "neoverse_n1 armv8.4a", "sve bf16 i8mm rng", "0x41/0xd40"),
        A("neoverse_n2", "neoverse_n1 armv9.0a", "bf16 i8mm", "0x41/0xd49"),
        A("neoverse_v2", "neoverse_n1 armv9.0a", "bf16 i8mm", "0x41/0xd4f"),
        A("thunderx2", "armv8.1a", "aes pmull sha1 sha2", "0x43/0x0af"),
        A("a64fx", "armv8.2a", "sha1 sha2 sve fcma fphp asimdhp", "0x46/0x001"),
        A("m1", "armv8.4a", "aes sha512 sha3 sb", "0x61/0x022 0x61/0x023 0x61/0x028 0x61/0x029"),
    ];

    private static readonly Dictionary<string, Microarchitecture> ByName = Table.ToDictionary(
        m => m.Name,
        StringComparer.Ordinal
    );

    /// <summary>The one of a name; null where the table does not have it.</summary>
    public static Microarchitecture? Find(string name) => ByName.GetValueOrDefault(name);

    /// <summary>
    /// It, and all whose programs run on it, the most special first; a name that is not known stands for itself.
    /// </summary>
    public static IReadOnlyList<string> RunsOn(string name)
    {
        var found = new HashSet<string>(StringComparer.Ordinal) { name };
        var open = new Queue<string>([name]);
        while (open.TryDequeue(out var next))
        {
            foreach (var parent in Find(next)?.Parents ?? [])
            {
                if (found.Add(parent))
                {
                    open.Enqueue(parent);
                }
            }
        }

        return [.. found.OrderByDescending(Place)];
    }

    /// <summary>
    /// The variant of a platform that a micro-architecture implies, such as <c>v3</c> for <c>zen3</c>; null where that is what the
    /// family means anyway, or nothing is known of it.
    /// </summary>
    public static string? VariantOf(string name) =>
        RunsOn(name).FirstOrDefault(n => n.StartsWith(LevelPrefix, StringComparison.Ordinal)) is { } level
            ? "v" + level[LevelPrefix.Length..]
            : null;

    /// <summary>The platform to which it belongs; null where nothing is known of it.</summary>
    public static Platform? PlatformOf(string name) =>
        Find(name) is { } known ? new Platform("linux", known.Architecture, VariantOf(name)) : null;

    /// <summary>
    /// What a machine is: of all that it fits, the most special. What a virtual machine hides of its processor is not there.
    /// </summary>
    /// <param name="architecture">Go's name of its family.</param>
    /// <param name="vendor">Its <c>vendor_id</c>; empty where there is none.</param>
    /// <param name="part">Its implementer and part, as in <see cref="Microarchitecture.Parts"/>; empty where there are none.</param>
    /// <param name="flags">Its flags.</param>
    public static Microarchitecture? Detect(string architecture, string vendor, string part, IReadOnlySet<string> flags)
    {
        var fitting = Table
            .Where(m => m.Architecture == architecture && (m.Vendor.Length == 0 || m.Vendor == vendor))
            .Where(m => m.Parts.Count == 0 || m.Parts.Contains(part, StringComparer.Ordinal))
            .Where(m => Lacking(m, flags).Count == 0)
            .ToList();
        var level = fitting.Where(IsLevel).MaxBy(m => RunsOn(m.Name).Count);
        // An old model is less than the level of a processor that hides what a newer model has.
        return fitting
                .Where(m => !IsLevel(m) && RunsOn(m.Name).Contains(level!.Name, StringComparer.Ordinal))
                .MaxBy(m => RunsOn(m.Name).Count)
            ?? level;
    }

    /// <summary>The flags that a machine lacks for it, those of its parents included.</summary>
    public static IReadOnlyList<string> Lacking(Microarchitecture wanted, IReadOnlySet<string> flags) =>
        [.. RunsOn(wanted.Name).Reverse().SelectMany(n => Find(n)!.Flags).Distinct().Where(f => !flags.Contains(f))];

    private static bool IsLevel(Microarchitecture one) => one.Vendor.Length == 0 && one.Parts.Count == 0;

    private static int Place(string name)
    {
        for (var i = 0; i < Table.Count; i++)
        {
            if (Table[i].Name == name)
            {
                return i;
            }
        }

        return int.MaxValue;
    }

    private static Microarchitecture X(string name, string vendor, string parents, string flags) =>
        new(name, Amd64, vendor, Words(parents), Words(flags));

    private static Microarchitecture A(string name, string parents, string flags, string parts = "") =>
        new(name, Arm64, "", Words(parents), Words(flags)) { Parts = Words(parts) };

    private static string[] Words(string text) => text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
