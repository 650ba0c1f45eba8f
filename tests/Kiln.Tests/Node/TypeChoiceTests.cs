using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Recipes;
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

    private static readonly NodeType OnAnyNetwork = Gpu with { Networks = Small.Networks };

    private static readonly NodeType Definitions = Small with
    {
        Name = "definitions",
        Recipes = [RecipeTypes.Singularity],
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
    public void A_definition_goes_where_definitions_are_built_and_nowhere_else()
    {
        var task = Task with { RecipeType = RecipeTypes.Singularity };
        Assert.Equal("definitions", Choose(task, Small, Gpu, Definitions).Type.Name);
        Assert.Equal("small", Choose(Task, Definitions, Small).Type.Name);
        Assert.Contains(
            "small: builds recipes of type dockerfile, not singularity",
            Refused(task, Small),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void A_micro_architecture_needs_a_type_that_is_it_or_runs_it()
    {
        var task = Task with { Platform = new Platform("linux", "amd64", "v3"), Microarchitecture = "zen2" };
        var zen = Small with { Name = "zen", Microarchitectures = ["zen3"] };
        Assert.Equal("zen", Choose(task, OnAnyNetwork, zen).Type.Name);
        Assert.Equal("zen", Choose(task with { Microarchitecture = "x86_64_v3" }, Small, zen).Type.Name);
        Assert.Contains("gpu: does not build for zen2", Refused(task, OnAnyNetwork), StringComparison.Ordinal);
        Assert.Contains(
            "zen: does not build for haswell",
            Refused(task with { Microarchitecture = "haswell" }, zen),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "zen: builds for linux/amd64, linux/amd64/v3, not linux/amd64/v4",
            Refused(task with { Platform = new Platform("linux", "amd64", "v4"), Microarchitecture = "zen4" }, zen),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Emulation_is_for_what_no_type_runs_by_itself_and_for_what_may_be_emulated()
    {
        var arm = new Platform("linux", "arm64");
        var task = Task with { Platform = arm, TimeoutSeconds = 3600 };
        var emulating = Small with { Name = "emulating", Emulates = [arm], Time = TimeSpan.FromHours(8) };
        // The other has less time than is asked for.
        var native = Small with
        {
            Name = "native",
            Platforms = [arm],
        };
        var shape = Choose(task, emulating, native);
        Assert.Equal(("native", false), (shape.Type.Name, shape.IsEmulated));
        shape = Choose(task, Small, emulating);
        Assert.Equal(("emulating", true), (shape.Type.Name, shape.IsEmulated));
        Assert.False(Choose(Task, emulating).IsEmulated);

        Assert.Contains(
            "emulating: builds for linux/arm64 by emulation only, which the request does not allow",
            Refused(task with { Emulation = EmulationModes.Denied }, emulating),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "definitions: builds for linux/arm64 by emulation only, which Apptainer does not do",
            Refused(task with { RecipeType = RecipeTypes.Singularity }, Definitions with { Emulates = [arm] }),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "emulating: builds for linux/amd64, linux/arm64, not linux/riscv64",
            Refused(task with { Platform = new Platform("linux", "riscv64") }, emulating),
            StringComparison.Ordinal
        );
        // Nothing of a finished image is run.
        Assert.False(
            Choose(task with { RecipeType = RecipeTypes.Image, Format = OutputFormats.Sif }, emulating).IsEmulated
        );
    }

    [Fact]
    public void A_format_is_made_where_the_type_says_so_or_says_nothing()
    {
        var task = Task with { RecipeType = RecipeTypes.Image, Format = OutputFormats.Sif };
        var none = Small with { Name = "none", Outputs = [OutputFormats.Squashfs] };
        Assert.Equal("gpu", Choose(task, none, Gpu).Type.Name);
        Assert.Contains("none: makes no sif of images", Refused(task, none), StringComparison.Ordinal);
        Assert.Equal("none", Choose(task with { Format = OutputFormats.SingleLayer }, none).Type.Name);
    }

    [Fact]
    public void The_registry_is_told_what_types_imply_and_what_does_not_go_together_as_two()
    {
        string[] made = [OutputFormats.Sif, OutputFormats.Squashfs, OutputFormats.SingleLayer];
        var zen = Assert.Single(
            TypeChoice.Offer(Small with { Microarchitectures = ["zen3"], Outputs = [OutputFormats.Squashfs] }, made)
        );
        Assert.Equal(["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], zen.Platforms);
        Assert.Equal(["zen3", "zen2", "zen"], zen.Microarchitectures);
        Assert.Equal(["oci", "squashfs", "single-layer", "single-id"], zen.Outputs);
        Assert.Equal(["dockerfile", "image"], zen.Recipes);
        Assert.Equal([], zen.EmulatedPlatforms);
        Assert.Equal(["oci", .. made], Assert.Single(TypeChoice.Offer(Small, made)).Outputs);

        var both = Small with
        {
            Recipes = [RecipeTypes.Dockerfile, RecipeTypes.Singularity],
            Emulates = [new Platform("linux", "arm64")],
        };
        Assert.Equal(
            [("dockerfile singularity image", ""), ("dockerfile image", "linux/arm64")],
            TypeChoice
                .Offer(both, made)
                .Select(t => (string.Join(' ', t.Recipes!), string.Join(' ', t.EmulatedPlatforms!)))
        );
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

    private static JobShape Choose(LeaseTask task) => Choose(task, Small, Gpu);

    private static JobShape Choose(LeaseTask task, params NodeType[] types)
    {
        var (shape, refusal) = TypeChoice.Choose(types, task);
        Assert.Null(refusal);
        return shape!;
    }

    private static string Refused(LeaseTask task, params NodeType[] types)
    {
        var (shape, refusal) = TypeChoice.Choose(types, task);
        Assert.Null(shape);
        return refusal!;
    }

    private static (string, int, long, int, int) Of(JobShape shape) =>
        (shape.Type.Name, shape.Cpus, shape.MemoryBytes, shape.Gpus, shape.Seconds);

    private static Dictionary<string, string> Said(params (string Name, string Value)[] words) =>
        words.ToDictionary(w => w.Name, w => w.Value);
}
