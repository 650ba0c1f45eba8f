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
    private const string Crypto = "aes pmull sha1 sha2 crc32";
    private const string Neoverse =
        "jscvt fcma sha3 sha512 sve asimdfhm uscat ilrcpc flagm dcpodp svei8mm svebf16 i8mm bf16";

    // Parents stand before their children; names, parents and flags are archspec's. Left out are flags that the whole family has
    // (mmx, sse, sse2, fp, asimd), SSE3, which Linux calls by another name, and LZCNT (abm): every processor with BMI1 has it, and
    // the kernels of some virtual machines do not show it. archspec gives versions of ARM no flags; these are what a version demands.
    private static readonly IReadOnlyList<Microarchitecture> Table =
    [
        X("x86_64", "", "", ""),
        X("x86_64_v2", "", "x86_64", "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"),
        X("x86_64_v3", "", "x86_64_v2", "avx avx2 bmi1 bmi2 f16c fma movbe xsave"),
        X("x86_64_v4", "", "x86_64_v3", "avx512f avx512bw avx512cd avx512dq avx512vl"),
        X("nocona", Intel, "x86_64", ""),
        X("core2", Intel, "nocona", "ssse3"),
        X("nehalem", Intel, "core2 x86_64_v2", ""),
        X("westmere", Intel, "nehalem", "aes pclmulqdq"),
        X("sandybridge", Intel, "westmere", "avx"),
        X("ivybridge", Intel, "sandybridge", "rdrand f16c"),
        X("haswell", Intel, "ivybridge x86_64_v3", ""),
        X("broadwell", Intel, "haswell", "rdseed adx"),
        X("skylake", Intel, "broadwell", "clflushopt xsavec xsaveopt"),
        X("mic_knl", Intel, "broadwell", "avx512f avx512pf avx512er avx512cd"),
        X("skylake_avx512", Intel, "skylake x86_64_v4", "clwb"),
        X("cascadelake", Intel, "skylake_avx512", "avx512_vnni"),
        X("cannonlake", Intel, "skylake x86_64_v4", "avx512vbmi avx512ifma sha_ni"),
        X(
            "icelake",
            Intel,
            "cascadelake cannonlake",
            "avx512_vbmi2 avx512_bitalg avx512_vpopcntdq gfni vaes vpclmulqdq rdpid"
        ),
        X(
            "sapphirerapids",
            Intel,
            "icelake",
            "avx512_bf16 cldemote movdir64b movdiri serialize waitpkg amx_bf16 amx_tile amx_int8"
        ),
        X(
            "alderlake",
            Intel,
            "skylake",
            "avx_vnni sha_ni clwb rdpid gfni vaes vpclmulqdq movdiri movdir64b serialize waitpkg"
        ),
        X("arrowlake", Intel, "alderlake", "avx_ifma avx_ne_convert avx_vnni_int8 cmpccxadd"),
        X("arrowlake_s", Intel, "arrowlake", "avx_vnni_int16 sha512 sm3 sm4"),
        X("k10", Amd, "x86_64", "sse4a cx16 3dnow 3dnowext"),
        X("bulldozer", Amd, "x86_64_v2", "sse4a xsave avx xop fma4 aes pclmulqdq"),
        X("piledriver", Amd, "bulldozer", "bmi1 f16c fma tbm"),
        X("steamroller", Amd, "piledriver", "fsgsbase"),
        X("excavator", Amd, "steamroller x86_64_v3", ""),
        X("zen", Amd, "x86_64_v3", "fsgsbase rdseed clzero aes pclmulqdq sse4a xsavec xsaveopt clflushopt"),
        X("zen2", Amd, "zen", "clwb"),
        X("zen3", Amd, "zen2", "vaes vpclmulqdq pku"),
        X(
            "zen4",
            Amd,
            "zen3 x86_64_v4",
            "gfni flush_l1d avx512ifma avx512_bf16 avx512vbmi avx512_vbmi2 avx512_vnni avx512_bitalg avx512_vpopcntdq"
        ),
        X("zen5", Amd, "zen4", "avx512_vp2intersect avx_vnni movdir64b movdiri tsc_adjust"),
        A("aarch64", "", "fp asimd"),
        A("armv8.1a", "aarch64", "atomics crc32 asimdrdm"),
        A("armv8.2a", "armv8.1a", "dcpop"),
        A("armv8.3a", "armv8.2a", "jscvt fcma lrcpc paca pacg"),
        A("armv8.4a", "armv8.3a", "asimddp uscat ilrcpc flagm dit"),
        A("armv8.5a", "armv8.4a", "sb frint flagm2"),
        A("armv8.6a", "armv8.5a", "bf16 i8mm"),
        A("armv9.0a", "armv8.5a", "sve2"),
        A("armv9.2a", "armv9.0a armv8.6a", "wfxt"),
        A("cortex_a72", "aarch64", Crypto, "0x41/0xd08"),
        A("neoverse_n1", "cortex_a72 armv8.2a", "atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp", "0x41/0xd0c"),
        A("neoverse_v1", "neoverse_n1 armv8.4a", $"{Neoverse} dit dgh rng", "0x41/0xd40"),
        A("neoverse_n2", "neoverse_n1 armv9.0a", $"{Neoverse} sb sve2 flagm2 frint", "0x41/0xd49"),
        A("neoverse_v2", "neoverse_n1 armv9.0a", $"{Neoverse} sb sve2 flagm2 frint", "0x41/0xd4f"),
        A(
            "neoverse_v3ae",
            "neoverse_v2 armv9.2a",
            "afp bti dgh dit ecv paca pacg sm3 sm4 sveaes svebitperm svepmull svesha3 svesm4 wfxt",
            "0x41/0xd83"
        ),
        A(
            "ampere1",
            "neoverse_n1 armv8.6a",
            "jscvt fcma sha3 sha512 asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg dcpodp flagm2 frint i8mm bf16 rng bti ecv",
            "0xc0/0xac3"
        ),
        A("ampere1a", "ampere1", "sm3 sm4", "0xc0/0xac4"),
        A("thunderx2", "armv8.1a", $"{Crypto} atomics asimdrdm", "0x43/0x0af"),
        A("a64fx", "armv8.2a", "sha1 sha2 crc32 atomics asimdrdm fphp asimdhp fcma dcpop sve", "0x46/0x001"),
        A(
            "m1",
            "armv8.4a",
            $"{Crypto} atomics fphp asimdhp asimdrdm jscvt fcma lrcpc dcpop sha3 asimddp sha512 asimdfhm dit uscat ilrcpc flagm "
                + "ssbs sb paca pacg dcpodp flagm2 frint",
            "0x61/0x022 0x61/0x023 0x61/0x028 0x61/0x029"
        ),
        A("m2", "m1 armv8.5a", "ecv bf16 i8mm bti", "0x61/0x032 0x61/0x033 0x61/0x038 0x61/0x039"),
    ];

    private static readonly Dictionary<string, Microarchitecture> ByName = Table.ToDictionary(
        m => m.Name,
        StringComparer.Ordinal
    );

    /// <summary>All names that are known and are more than a level of their family.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Table.Select(m => m.Name).Where(name => !IsLevel(name))];

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
        var level = fitting.Where(IsGeneric).MaxBy(m => RunsOn(m.Name).Count);
        // An old model is less than the level of a processor that hides what a newer model has. What is known by its part is no
        // other, whatever version of ARM its flags would allow as well.
        return fitting
                .Where(m => !IsGeneric(m))
                .Where(m => m.Parts.Count > 0 || RunsOn(m.Name).Contains(level!.Name, StringComparer.Ordinal))
                .MaxBy(m => RunsOn(m.Name).Count)
            ?? level;
    }

    /// <summary>
    /// The flags that a machine lacks for it, those of its parents included. What is known by its part is not held against those
    /// of its version of ARM: kernels do not show all that a version demands.
    /// </summary>
    public static IReadOnlyList<string> Lacking(Microarchitecture wanted, IReadOnlySet<string> flags) =>
        [
            .. RunsOn(wanted.Name)
                .Reverse()
                .Select(n => Find(n)!)
                .Where(m => wanted.Parts.Count == 0 || m.Parts.Count > 0)
                .SelectMany(m => m.Flags)
                .Distinct()
                .Where(f => !flags.Contains(f)),
        ];

    /// <summary>Whether a name is a level of the x86-64 psABI, such as <c>x86_64_v3</c>, or means the whole family.</summary>
    public static bool IsLevel(string name) =>
        name is "x86_64" or "aarch64" || name.StartsWith(LevelPrefix, StringComparison.Ordinal);

    private static bool IsGeneric(Microarchitecture one) => one.Vendor.Length == 0 && one.Parts.Count == 0;

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
