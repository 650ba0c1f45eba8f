using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;

namespace Kiln.Tests.BuildSpec;

/// <summary>Which machine is what, and which programs run there.</summary>
public sealed class MicroarchitectureTests
{
    private const string V2 = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3";
    private const string V3 = V2 + " avx avx2 bmi1 bmi2 f16c fma movbe xsave";
    private const string V4 = V3 + " avx512f avx512bw avx512cd avx512dq avx512vl";
    private const string Zen2 =
        V3 + " aes pclmulqdq sse4a fsgsbase rdseed adx sha_ni clzero clflushopt xsavec xsaveopt clwb";
    private const string Zen3 = Zen2 + " vaes vpclmulqdq pku";
    private const string Skylake = V3 + " aes pclmulqdq rdrand fsgsbase rdseed adx clflushopt xsavec xsaveopt";
    private const string Cascade = Skylake + " avx512f avx512bw avx512cd avx512dq avx512vl clwb avx512_vnni";

    [Theory]
    [InlineData("amd64", "AuthenticAMD", "", "", "x86_64")]
    [InlineData("amd64", "AuthenticAMD", "", V2, "x86_64_v2")]
    [InlineData("amd64", "AuthenticAMD", "", Zen2, "zen2")]
    [InlineData("amd64", "AuthenticAMD", "", Zen3, "zen3")]
    // A virtual machine that hides what zen3 has beyond its level.
    [InlineData("amd64", "AuthenticAMD", "", V4, "x86_64_v4")]
    [InlineData("amd64", "GenuineIntel", "", V3, "x86_64_v3")]
    [InlineData("amd64", "GenuineIntel", "", Skylake, "skylake")]
    [InlineData("amd64", "GenuineIntel", "", Cascade, "cascadelake")]
    [InlineData("amd64", "GenuineIntel", "", "", "nocona")]
    [InlineData("amd64", "GenuineIntel", "", V3 + " aes pclmulqdq rdrand", "haswell")]
    [InlineData(
        "amd64",
        "GenuineIntel",
        "",
        Skylake + " avx_vnni sha_ni clwb rdpid gfni vaes vpclmulqdq movdiri movdir64b serialize waitpkg",
        "alderlake"
    )]
    // What Intel's flags say is no zen, whatever they are; and a maker that nobody knows has a level all the same.
    [InlineData("amd64", "GenuineIntel", "", Zen3, "x86_64_v3")]
    [InlineData("amd64", "HygonGenuine", "", Zen2, "x86_64_v3")]
    [InlineData("arm64", "", "0x41/0xd08", "fp asimd aes pmull sha1 sha2 crc32", "cortex_a72")]
    // As Linux shows a Graviton4: version 9, without dit, which that demands.
    [InlineData(
        "arm64",
        "",
        "0x41/0xd4f",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 asimddp "
            + "sha512 sve asimdfhm uscat ilrcpc flagm sb paca pacg dcpodp sve2 flagm2 frint svei8mm svebf16 i8mm bf16 dgh rng bti",
        "neoverse_v2"
    )]
    // As Linux shows a Grace: with dit, by which its flags allow armv8.6a too.
    [InlineData(
        "arm64",
        "",
        "0x41/0xd4f",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 asimddp "
            + "sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 "
            + "flagm2 frint svei8mm svebf16 i8mm bf16 dgh bti",
        "neoverse_v2"
    )]
    [InlineData("arm64", "", "0x99/0x001", "fp asimd atomics crc32 asimdrdm dcpop", "armv8.2a")]
    [InlineData(
        "arm64",
        "",
        "0x41/0xd0c",
        "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp",
        "neoverse_n1"
    )]
    public void Machine_is_the_most_special_that_all_its_flags_allow(
        string architecture,
        string vendor,
        string part,
        string flags,
        string expected
    ) =>
        Assert.Equal(
            expected,
            Microarchitectures.Detect(architecture, vendor, part, flags.Split(' ').ToHashSet())?.Name
        );

    [Theory]
    [InlineData("x86_64", null)]
    [InlineData("core2", null)]
    [InlineData("k10", null)]
    [InlineData("mic_knl", "v3")]
    [InlineData("ampere1", null)]
    [InlineData("nehalem", "v2")]
    [InlineData("haswell", "v3")]
    [InlineData("zen3", "v3")]
    [InlineData("zen4", "v4")]
    [InlineData("icelake", "v4")]
    [InlineData("neoverse_v1", null)]
    [InlineData("somebodys_new", null)]
    public void Name_implies_a_level(string name, string? variant) =>
        Assert.Equal(variant, Microarchitectures.VariantOf(name));

    [Theory]
    [InlineData("linux/amd64/v4", "linux/amd64 linux/amd64/v1 linux/amd64/v2 linux/amd64/v3 linux/amd64/v4", true)]
    [InlineData("linux/amd64/v3", "linux/amd64/v4 linux/arm64 windows/amd64", false)]
    [InlineData("linux/amd64", "linux/amd64/v2 linux/amd64/v9", false)]
    [InlineData("linux/arm64/v8", "linux/arm64", true)]
    [InlineData("linux/arm64", "linux/arm64/v8", true)]
    [InlineData("linux/arm/v7", "linux/arm/v6 linux/arm64", false)]
    public void Machine_builds_for_what_is_below_it(string there, string wanted, bool builds) =>
        Assert.All(
            wanted.Split(' '),
            text => Assert.Equal(builds, PlatformLevels.Builds(Platform.Parse(there), Platform.Parse(text)))
        );

    [Fact]
    public void Offer_means_what_it_implies()
    {
        var wide = PlatformLevels.Widen(
            new LeaseClaim
            {
                Node = "n",
                Platforms = ["linux/amd64"],
                Microarchitectures = ["zen3", "somebodys_new"],
                Recipes = [],
                Outputs = [],
                Types = [new OfferedType { Platforms = ["linux/amd64/v2"] }, new OfferedType { Recipes = ["r"] }],
            }
        );
        Assert.Equal(["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], wide.Platforms);
        Assert.Equal(["r"], wide.Recipes);
        Assert.Subset(
            wide.Microarchitectures!.ToHashSet(),
            new HashSet<string> { "zen3", "zen2", "zen", "somebodys_new" }
        );
        Assert.DoesNotContain("zen4", wide.Microarchitectures!);
        Assert.Equal(["linux/amd64", "linux/amd64/v2"], wide.Types![0].Platforms);
        Assert.Equal(["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], wide.Types[1].Platforms);
    }

    [Theory]
    [InlineData("linux/amd64", "zen3", "linux/amd64/v3", "zen3")]
    [InlineData("linux/amd64/v3", "zen3", "linux/amd64/v3", "zen3")]
    [InlineData("linux/amd64", "x86_64_v3", "linux/amd64/v3", "x86_64_v3")]
    [InlineData("linux/amd64/v3", null, "linux/amd64/v3", "x86_64_v3")]
    [InlineData("linux/amd64", "x86_64", "linux/amd64", null)]
    [InlineData("linux/arm64", "neoverse_n1", "linux/arm64", "neoverse_n1")]
    [InlineData("linux/arm64/v8", "aarch64", "linux/arm64", null)]
    public void Target_has_the_level_of_its_micro_architecture(
        string platform,
        string? micro,
        string normal,
        string? name
    )
    {
        var target = BuildTargets.Normalize(
            new BuildTarget { Platform = Platform.Parse(platform), Microarchitecture = micro }
        );
        Assert.Equal((normal, name), (target.Platform.ToString(), target.Microarchitecture));
        Assert.False(BuildTargets.Contradicts(target));
    }

    [Theory]
    [InlineData("linux/amd64/v4", "zen3")]
    [InlineData("linux/amd64/v2", "x86_64_v3")]
    [InlineData("linux/arm64", "zen3")]
    [InlineData("linux/amd64", "neoverse_n1")]
    public void Target_that_is_no_machine_is_a_contradiction(string platform, string micro) =>
        Assert.True(
            BuildTargets.Contradicts(
                BuildTargets.Normalize(
                    new BuildTarget { Platform = Platform.Parse(platform), Microarchitecture = micro }
                )
            )
        );
}
