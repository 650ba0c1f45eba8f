using Kiln.BuildSpec;
using Kiln.Node.Engines;
using Kiln.Node.Engines.Apptainer;
using Kiln.Node.Engines.Buildah;
using Kiln.Node.Sandbox;

namespace Kiln.Tests.Node;

/// <summary>Why a definition was not built: by what Apptainer says, and not by what its exit code looks like.</summary>
public sealed class ApptainerFailureTests
{
    private const string Post = "INFO:    Running post scriptlet\n";

    [Theory]
    [InlineData("while running %post section: exit status 137", 255, "recipe-error", "(%post) exited with 137", 137)]
    [InlineData("while running %post section: exit status 143", 255, "recipe-error", "(%post) exited with 143", 143)]
    [InlineData("while running %post section: exit status 125", 255, "recipe-error", "(%post) exited with 125", 125)]
    [InlineData("while creating squashfs: write: no space left on device", 255, "system-error", "disk is full", null)]
    [InlineData(
        "conveyor failed to get: no such image",
        255,
        "recipe-error",
        "failed: While performing build: conveyor",
        255
    )]
    [InlineData("while running %post section: exit status 153", 255, "limit-exceeded", "larger than 200 MiB", null)]
    [InlineData("copying: write /x: file too large", 255, "limit-exceeded", "larger than 200 MiB", null)]
    [InlineData(null, 153, "limit-exceeded", "larger than 200 MiB", null)]
    [InlineData(null, 137, "system-error", "killed from outside", null)]
    [InlineData(null, 1, "recipe-error", "exited with 1", 1)]
    public void Reasons_are_those_that_Apptainer_tells(
        string? fatal,
        int code,
        string reason,
        string message,
        int? exit
    )
    {
        IReadOnlyList<PlannedStep> steps =
        [
            new(1, 1, "bootstrap", "Bootstrap: scratch", "STEP 1/2: Bootstrap: scratch"),
            new(1, 2, "post", "%post", "STEP 2/2: %post"),
        ];
        var lines = new ApptainerLines(steps);
        var output = new BuildahOutput(steps.Select(s => (s.Stage, s.Number, s.Text)), new Listener(), lines.Translate);
        output.Add("STEP 1/2: Bootstrap: scratch\n"u8);
        output.Add(System.Text.Encoding.UTF8.GetBytes(Post));
        if (fatal is not null)
        {
            // A script's own words are not the last ones.
            output.Add("FATAL:   exit status 3\n"u8);
            output.Add(System.Text.Encoding.UTF8.GetBytes($"FATAL:   While performing build: {fatal}\n"));
        }

        var result = BuildahFailure.Explain(new JailExit(code, null) { FileBytes = 200 << 20 }, output, lines.Failure);
        Assert.Equal(reason, result.Reason);
        Assert.Contains(message, result.Message, StringComparison.Ordinal);
        Assert.Equal(exit, result.ExitCode);
    }

    [Fact]
    public void A_step_that_is_one_program_dies_of_its_files_size_by_name()
    {
        var output = new BuildahOutput([(1, 1, "RUN dd")], new Listener(), line => line);
        output.Add("STEP 1/1: RUN dd\n"u8);
        output.Add("subprocess exited on file size limit exceeded\nsubprocess exited with status 1\n"u8);
        output.Add("Error: building at STEP \"RUN dd\": exit status 1\n"u8);

        var result = BuildahFailure.Explain(new JailExit(1, null) { FileBytes = 200 << 20 }, output);

        Assert.Equal(FailureReasons.LimitExceeded, result.Reason);
        Assert.Contains("larger than 200 MiB in step 1/1 (RUN dd)", result.Message, StringComparison.Ordinal);
    }

    private sealed class Listener : IBuildListener
    {
        public void Phase(string phase) { }

        public void Confined(BuildConfinement confinement) { }

        public void Step(BuildStep step) { }

        public void Log(ReadOnlySpan<byte> text) { }
    }
}
