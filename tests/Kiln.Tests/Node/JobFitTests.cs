using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.BuildSpec.Recipes;
using Kiln.Node;
using Kiln.Node.Engines;
using Kiln.Node.Launchers;
using Kiln.Node.Remote;
using Kiln.Oci;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Node;

/// <summary>What a type of machine promises, and whether the machine of a job keeps it.</summary>
public sealed class JobFitTests : IDisposable
{
    private static readonly Platform Arm = new("linux", "arm64");

    private static readonly NodeAbilities Machine = new()
    {
        Engines = ["buildah"],
        Platforms = [Platform.LinuxAmd64, new Platform("linux", "amd64", "v3")],
        EmulatedPlatforms = [Arm],
        Microarchitectures = ["zen3", "zen2"],
        RecipeTypes = [RecipeTypes.Dockerfile],
        NoDefinitions = "apptainer is not in /usr/bin",
        Outputs = [BuildOutput.Oci, OutputFormats.SingleLayer],
        Networks = [NetworkModes.None],
    };

    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-fit-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    // Nothing of a finished image is run: what the machine is, is no matter, but its programs are.
    [InlineData(RecipeTypes.Image, OutputFormats.SingleLayer, "linux/s390x", null, false, null)]
    [InlineData(
        RecipeTypes.Image,
        OutputFormats.Sif,
        "linux/s390x",
        null,
        false,
        "it makes no sif of images: mksquashfs (squashfs-tools 4.5 or later)"
    )]
    [InlineData("dockerfile", "oci", "linux/amd64", null, false, null)]
    // What it would emulate, nobody has said to be emulated.
    [InlineData("dockerfile", "oci", "linux/arm64", null, false, "it is linux/amd64, linux/amd64/v3, not linux/arm64")]
    [InlineData("dockerfile", "oci", "linux/arm64", null, true, null)]
    [InlineData(
        "dockerfile",
        "oci",
        "linux/riscv64",
        null,
        true,
        "it does not emulate linux/riscv64, as the type says"
    )]
    [InlineData("dockerfile", "oci", "linux/amd64/v3", "x86_64_v3", false, null)]
    [InlineData("dockerfile", "oci", "linux/amd64/v3", "zen2", false, null)]
    [InlineData(
        "dockerfile",
        "oci",
        "linux/amd64/v3",
        "haswell",
        false,
        "it is zen3, which does not run what is built for haswell"
    )]
    [InlineData(
        "singularity",
        "oci",
        "linux/amd64",
        null,
        false,
        "it builds no recipes of type 'singularity', as the type says: apptainer is not in /usr/bin"
    )]
    public void A_machine_is_held_against_what_it_is_to_do(
        string recipe,
        string format,
        string platform,
        string? micro,
        bool emulated,
        string? why
    )
    {
        var task = NodeSamples.Lease.Task with
        {
            RecipeType = recipe,
            Format = format,
            Platform = Platform.Parse(platform),
            Microarchitecture = micro,
        };

        var unfit = JobRun.Unfit(Machine, task, emulated);

        Assert.Equal(why, unfit?[..Math.Min(unfit.Length, why?.Length ?? 0)]);
    }

    [Fact]
    public void No_engine_gets_what_it_would_read_as_something_else()
    {
        IEngine[] engines = [new OnlyEngine(RecipeTypes.Dockerfile)];
        Assert.Equal(RecipeTypes.Dockerfile, LocalLauncher.EngineOf(engines, RecipeTypes.Dockerfile).Name);
        // What is made of an image needs none.
        Assert.Equal(RecipeTypes.Dockerfile, LocalLauncher.EngineOf(engines, RecipeTypes.Image).Name);
        var refused = Assert.Throws<InvalidOperationException>(() =>
            LocalLauncher.EngineOf(engines, RecipeTypes.Singularity)
        );
        Assert.Contains("no recipes of type 'singularity'", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("linux/arm64", true)]
    [InlineData("linux/amd64", false)]
    public async Task A_job_is_told_whether_it_is_to_emulate(string platform, bool emulated)
    {
        using var launcher = Launcher(allowEmulation: true);
        await launcher.PrepareAsync(Cancel);
        launcher.Resume(new TestCoordinator(), Cancel);

        await launcher.RunAsync(
            NodeSamples.Lease with
            {
                Task = NodeSamples.Lease.Task with { Platform = Platform.Parse(platform) },
            },
            new TestCoordinator(),
            Cancel
        );

        var handover = JobHandover.Take(Path.Combine(_folder, "seen"))!;
        Assert.Equal(emulated, handover.IsEmulated);
        // And lets its machine do it then only.
        Assert.Equal(emulated, JobRun.OptionsOf(handover, _folder).AllowEmulation);
    }

    [Fact]
    public async Task A_claim_has_what_all_types_have_for_registries_that_know_no_types()
    {
        using var launcher = Launcher(allowEmulation: true);
        var claim = BuildNode.ClaimOf("n", await launcher.PrepareAsync(Cancel));
        Assert.Equal(["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], claim.Platforms);
        Assert.Equal(["linux/arm64"], claim.EmulatedPlatforms);
        Assert.Equal(["zen3", "zen2", "zen"], claim.Microarchitectures);
        Assert.Equal(["dockerfile", "singularity", "image"], claim.Recipes);
        Assert.Equal([1, 0], claim.Types!.Select(t => t.EmulatedPlatforms!.Count));
    }

    [Fact]
    public async Task A_node_that_is_not_to_emulate_has_no_types_that_do()
    {
        using var launcher = Launcher(allowEmulation: false);
        var abilities = await launcher.PrepareAsync(Cancel);
        Assert.Empty(abilities.EmulatedPlatforms);
        Assert.All(abilities.Types!, type => Assert.Empty(type.EmulatedPlatforms!));
        var coordinator = new TestCoordinator();

        await launcher.RunAsync(
            NodeSamples.Lease with
            {
                Task = NodeSamples.Lease.Task with { Platform = Arm },
            },
            coordinator,
            Cancel
        );

        Assert.Equal(FailureReasons.NoBuilder, coordinator.Result!.Reason);
    }

    // Its batch system keeps what a job would get, and takes none.
    private BatchLauncher Launcher(bool allowEmulation) =>
        new(
            new LauncherOptions
            {
                Kind = LauncherKind.Command,
                Submit =
                [
                    "sh",
                    "-c",
                    $"mkdir '{_folder}/seen'; cp \"${{KILN_JOB_SCRIPT%/*}}/handover.json\" '{_folder}/seen'; exit 1",
                ],
                Status = ["true"],
                Cancel = ["true"],
                Interval = TimeSpan.FromMilliseconds(20),
                Types =
                [
                    new NodeType
                    {
                        Name = "emulating",
                        Platforms = [Platform.LinuxAmd64],
                        Emulates = [Arm],
                    },
                    new NodeType
                    {
                        Name = "definitions",
                        Platforms = [Platform.LinuxAmd64],
                        Microarchitectures = ["zen3"],
                        Recipes = [RecipeTypes.Singularity],
                    },
                ],
            },
            new NodeOptions
            {
                Directory = _folder,
                Name = "n",
                AllowEmulation = allowEmulation,
            },
            new RemoteServer { Host = "h", Spool = Path.Combine(_folder, "spool") },
            TimeProvider.System,
            NullLogger.Instance
        );

    // It builds one type of recipes, and is never asked to.
    private sealed class OnlyEngine(string recipes) : IEngine
    {
        public string Name => recipes;

        public EngineAbilities Abilities =>
            new()
            {
                RecipeTypes = [recipes],
                Platforms = [Platform.LinuxAmd64],
                Networks = [],
                StepCache = false,
            };

        public IReadOnlyList<BaseReference> BasesOf(LeaseTask task, string recipe) => throw new NotSupportedException();

        public Task<EngineResult> BuildAsync(EngineTask task, IBuildListener listener, CancellationToken cancel) =>
            throw new NotSupportedException();

        public Task KeepStepsAsync(
            EngineTask task,
            IReadOnlyDictionary<string, PublishedLayer> layers,
            CancellationToken cancel
        ) => throw new NotSupportedException();

        public Task CleanUpAsync(string directory, CancellationToken cancel) => throw new NotSupportedException();
    }
}
