using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.Node.Launchers;
using Kiln.Node.Launchers.Slurm;
using Kiln.Node.Machine;
using Kiln.Oci;

namespace Kiln.Tests.Node;

/// <summary>Which kind of machine a build gets, what its job may use, and what cannot be chosen.</summary>
public sealed class TypeChoiceTests
{
    private static readonly NodeType Small = new()
    {
        Name = "small",
        Platforms = [Platform.LinuxAmd64],
        Cpus = 4,
        MemoryBytes = 8L << 30,
        Time = TimeSpan.FromMinutes(30),
        Place = new Dictionary<string, string> { ["partition"] = "short", ["account"] = "builds" },
        Backend = new Dictionary<string, IReadOnlyList<string>> { ["account"] = ["p1", "p2"], ["qos"] = ["*"] },
        Arguments = ["--exclusive=user"],
    };

    private static readonly NodeType Gpu = new()
    {
        Name = "gpu",
        Platforms = [Platform.LinuxAmd64, new Platform("linux", "amd64", "v3")],
        Networks = [NetworkModes.None],
        Cpus = 16,
        MemoryBytes = 64L << 30,
        Gpus = 4,
        Time = TimeSpan.FromHours(4),
        GpuOption = "--gres=gpu:a100:{gpus}",
    };

    private static readonly LeaseTask Task = NodeSamples.Lease.Task with { TimeoutSeconds = 600 };

    [Fact]
    public void The_first_that_fits_is_chosen_and_what_is_not_asked_for_is_little()
    {
        var (shape, refusal) = TypeChoice.Choose([Small, Gpu], Task);
        Assert.Null(refusal);
        Assert.Equal(("small", 2, 4L << 30, 0, 600), Of(shape!));
        Assert.Equal("short", shape!.Place["partition"]);
    }

    [Fact]
    public void What_is_asked_for_decides()
    {
        var asked = new BuildResources { Gpus = 2, Cpus = 8 };
        Assert.Equal(("gpu", 8, 4L << 30, 2, 600), Of(Choose(Task with { Resources = asked })));
        Assert.Equal("gpu", Choose(Task with { Platform = new Platform("linux", "amd64", "v3") }).Type.Name);
    }

    [Fact]
    public void Time_prefers_who_has_it_and_is_cut_where_nobody_has()
    {
        Assert.Equal("gpu", Choose(Task with { TimeoutSeconds = 3600 }).Type.Name);
        var most = Choose(Task with { TimeoutSeconds = 36_000 });
        Assert.Equal(("gpu", (4 * 3600) - 120, 240), (most.Type.Name, most.Seconds, most.JobMinutes));
    }

    [Fact]
    public void What_a_request_may_choose_is_listed()
    {
        var chosen = Choose(Task with { Backend = Said(("account", "p2"), ("qos", "anything; --uid=0")) });
        Assert.Equal("p2", chosen.Place["account"]);
        var (shape, refusal) = TypeChoice.Choose([Small, Gpu], Task with { Backend = Said(("account", "p3")) });
        Assert.Null(shape);
        Assert.Equal(
            "nothing that this node may start builds on fits: small: backend.account may be p1, p2, not 'p3'; gpu: backend.account may not be chosen",
            refusal
        );
    }

    [Theory]
    [InlineData("linux/arm64", "none", 1, "small: builds for linux/amd64, not linux/arm64")]
    [InlineData("linux/amd64", "isolated", 99, "gpu: has the networks none, not isolated")]
    [InlineData("linux/amd64", "none", 99, "gpu: has 16 of resources.cpus, not 99")]
    public void What_does_not_fit_is_said(string platform, string network, int cpus, string why)
    {
        var (shape, refusal) = TypeChoice.Choose(
            [Small, Gpu],
            Task with
            {
                Platform = Platform.Parse(platform),
                Network = network,
                Resources = new BuildResources { Cpus = cpus },
            }
        );
        Assert.Null(shape);
        Assert.Contains(why, refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void Slurm_is_told_by_arguments_of_which_none_comes_from_a_request_unlisted()
    {
        var shape = Choose(
            Task with
            {
                Backend = Said(("qos", "high --uid=0")),
                Resources = new BuildResources { Cpus = 3 },
            }
        );
        var arguments = SlurmSystem.Arguments(new BatchOrder("kiln-l1", shape, "/s/script", "/s/%j/output"));
        Assert.Equal("sbatch", arguments[0]);
        Assert.Equal("/s/script", arguments[^1]);
        Assert.Contains("--qos=high --uid=0", arguments);
        Assert.Contains("--output=/s/%%j/output", arguments);
        foreach (
            var expected in new[]
            {
                "--no-requeue",
                "--export=NIL",
                "--account=builds",
                "--partition=short",
                "--cpus-per-task=3",
                "--mem=4352M",
                "--time=12",
                "--signal=B:USR1@30",
                "--exclusive=user",
            }
        )
        {
            Assert.Contains(expected, arguments);
        }

        var gpus = Choose(Task with { Resources = new BuildResources { Gpus = 3 } });
        Assert.Contains("--gres=gpu:a100:3", SlurmSystem.Arguments(new BatchOrder("kiln-l1", gpus, "s", "o")));
    }

    [Theory]
    [InlineData("v2", "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3", false)]
    [InlineData("v3", "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3", true)]
    [InlineData("v3", "avx avx2 bmi1 bmi2 f16c fma movbe xsave cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3", false)]
    [InlineData("v4", "avx avx2 bmi1 bmi2 f16c fma movbe xsave cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3", true)]
    public void A_processor_has_its_level_or_not(string variant, string flags, bool lacks)
    {
        var processor = new Processor("amd64", "", "", null, flags.Split(' ').ToHashSet());
        Assert.Equal(lacks, !PlatformLevels.Builds(processor.Platform, new Platform("linux", "amd64", variant)));
    }

    private static JobShape Choose(LeaseTask task)
    {
        var (shape, refusal) = TypeChoice.Choose([Small, Gpu], task);
        Assert.Null(refusal);
        return shape!;
    }

    private static (string, int, long, int, int) Of(JobShape shape) =>
        (shape.Type.Name, shape.Cpus, shape.MemoryBytes, shape.Gpus, shape.Seconds);

    private static Dictionary<string, string> Said(params (string Name, string Value)[] words) =>
        words.ToDictionary(w => w.Name, w => w.Value);
}
