using CsCheck;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Oci;

namespace Kiln.Tests.BuildSpec;

public sealed class DockerfileTests
{
    private static readonly Platform Arm = new("linux", "arm64");

    [Theory]
    [InlineData("FROM a\nRUN x", 1)]
    [InlineData("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN x `\n  y\n", 1)]
    [InlineData("ARG A=b\nFROM $A AS one\nFROM one\nCOPY --from=one / /\n", 2)]
    [InlineData("\uFEFFFROM a\r\nRUN x\r\n", 1)]
    [InlineData("FROM a\nRUN x \\\n\n  # a comment\n  && y\n", 1)]
    [InlineData("from a as B\nrun x", 1)]
    [InlineData("FROM a\nCMD --not-a-flag", 1)]
    public void A_Dockerfile_is_read_into_its_stages(string text, int stages)
    {
        Assert.True(Dockerfile.TryParse(text, out var file, out var fault), fault);
        Assert.Equal(stages, file.Stages.Count);
    }

    [Theory]
    [InlineData("", "no FROM")]
    [InlineData("# only a comment\n", "no FROM")]
    [InlineData("RUN x\nFROM a", "line 1: RUN before the first FROM")]
    [InlineData("FROM a\nRNU x", "line 2: 'RNU' is not a Dockerfile instruction")]
    [InlineData("FROM a\n\nRUN", "line 3: RUN needs an argument")]
    [InlineData("FROM a b", "line 1: write FROM IMAGE")]
    [InlineData("FROM a AS x\nFROM b AS X", "line 2: there is a stage 'x' already")]
    [InlineData("# escape=%\nFROM a", "line 1: the escape directive")]
    [InlineData("FROM a\nRUN <<EOF\nx\n", "line 2: the here-document <<EOF does not end")]
    [InlineData("FROM a\0", "line 1: this is not a text file")]
    public void What_is_no_Dockerfile_is_refused_with_its_line(string text, string expected)
    {
        Assert.False(Dockerfile.TryParse(text, out _, out var fault));
        Assert.Contains(expected, fault, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("FROM a", "a linux/amd64")]
    [InlineData("ARG V=1\nFROM a:$V", "a:1 linux/amd64")]
    [InlineData("ARG V\nFROM a:${V:-2}", "a:2 linux/amd64")]
    [InlineData("ARG V=1\nARG W=x$V\nFROM a:${W}", "a:x1 linux/amd64")]
    [InlineData("ARG GIVEN=no\nFROM a:$GIVEN", "a:yes linux/amd64")]
    [InlineData("FROM --platform=$BUILDPLATFORM a", "a linux/arm64")]
    [InlineData(
        "FROM a AS x\nFROM x\nCOPY --from=x / /\nCOPY --from=0 / /\nCOPY --from=b:1 / /",
        "a linux/amd64|b:1 linux/amd64"
    )]
    [InlineData("FROM scratch\nRUN --mount=type=bind,from=c,target=/c ls", "c linux/amd64")]
    [InlineData("FROM a\nFROM a", "a linux/amd64")]
    [InlineData("ARG A=\"quoted\"\nFROM $A", "quoted linux/amd64")]
    public void Images_from_outside_are_found_with_variables_filled_in(string text, string expected)
    {
        var bases = Bases(text, null);
        Assert.Equal(expected.Split('|'), bases.References().Select(r => $"{r.Written} {r.Platform}"));
    }

    [Theory]
    [InlineData("FROM a:$MISSING", "line 1: the variable 'MISSING' has no value")]
    [InlineData("FROM --platform=nonsense a", "line 1: 'nonsense' is not a platform")]
    [InlineData("FROM a:${V", "line 1: '${V' does not close")]
    public void A_reference_that_cannot_be_filled_in_is_refused_with_its_line(string text, string expected)
    {
        var fault = Assert.Throws<FormatException>(() => Bases(text, null).References());
        Assert.Contains(expected, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Rewriting_pins_images_and_keeps_the_rest_as_written()
    {
        const string text =
            "ARG V=1\nFROM --platform=linux/amd64 a:$V AS x\nRUN echo \\\n  $V\nFROM x\nCOPY --from=b:1 /f /f\nRUN --mount=from=b:1,target=/b ls\n";
        var rewritten = Bases(text, null, Platform.LinuxAmd64).Rewrite(r => "pinned/" + r.Written);
        Assert.Equal(
            "ARG V=1\nFROM pinned/a:1 AS x\nRUN echo \\\n  $V\nFROM x\nCOPY --from=pinned/b:1 /f /f\nRUN --mount=from=pinned/b:1,target=/b ls\n",
            rewritten
        );
    }

    [Fact]
    public void In_a_build_for_another_family_each_stage_says_its_own()
    {
        const string text =
            "FROM --platform=$BUILDPLATFORM a AS native\nFROM a AS foreign\nFROM native\nFROM scratch\nCOPY --from=native /f /f\n"
            + "FROM --platform=$OUT_OF_REACH late\n";
        Assert.True(Dockerfile.TryParse(text, out var file, out _));
        var bases = new DockerfileBases(
            file,
            new Dictionary<string, string>(),
            new Platform("linux", "arm64"),
            Platform.LinuxAmd64,
            stage: 3
        );
        Assert.Equal(["linux/amd64", "linux/arm64"], bases.References().Select(r => r.Platform.ToString()));
        Assert.Equal(
            "FROM --platform=linux/amd64 pinned/amd64 AS native\nFROM --platform=linux/arm64 pinned/arm64 AS foreign\n"
                + "FROM --platform=linux/arm64 native\nFROM --platform=linux/arm64 scratch\nCOPY --from=native /f /f\n",
            bases.Rewrite(r => "pinned/" + r.Platform.Architecture)
        );
    }

    [Fact]
    public void Only_the_flag_is_rewritten_not_a_longer_name_or_the_command()
    {
        const string text =
            "FROM scratch\nRUN --mount=type=bind,from=a,target=/a --mount=from=a:2,target=/b echo from=a,from=a:2\n";
        Assert.Equal(
            "FROM scratch\nRUN --mount=type=bind,from=p/a,target=/a --mount=from=p/a:2,target=/b echo from=a,from=a:2\n",
            Bases(text, null, Platform.LinuxAmd64).Rewrite(r => "p/" + r.Written)
        );
    }

    [Fact]
    public void Stages_after_the_target_are_left_out()
    {
        var bases = Bases("FROM a AS one\nFROM b AS two\n", "one", Platform.LinuxAmd64);
        Assert.Equal(["a"], bases.References().Select(r => r.Written));
        Assert.Equal("FROM p AS one\n", bases.Rewrite(_ => "p"));
    }

    [Fact]
    public void Here_documents_become_a_shell_command_for_engines_without_them()
    {
        const string text =
            "FROM a\nRUN --mount=type=cache,target=/c <<EOF\nset -e\necho \"hi\"\nEOF\nRUN cat <<-X > /f\n\ty\nX\n";
        Assert.Equal(
            "FROM a\nRUN --mount=type=cache,target=/c [\"/bin/sh\", \"-c\", \"set -e\\necho \\\"hi\\\"\\n\"]\nRUN [\"/bin/sh\", \"-c\", \"cat <<-X > /f\\ny\\nX\\n\"]\n",
            Bases(text, null, Platform.LinuxAmd64).Rewrite(r => r.Written, lowerHeredocs: true)
        );
    }

    [Theory]
    [InlineData(null, 2)]
    [InlineData("", 2)]
    [InlineData("ONE", 0)]
    [InlineData("1", 1)]
    [InlineData("nope", -1)]
    [InlineData("7", -1)]
    public void A_target_is_a_stage_by_name_or_number(string? target, int expected)
    {
        Assert.True(Dockerfile.TryParse("FROM a AS one\nFROM b\nFROM c\n", out var file, out _));
        Assert.Equal(expected, file.StageIndex(target));
    }

    [Fact]
    public void Any_text_is_read_or_refused_but_never_breaks_the_reader()
    {
        string[] parts =
        [
            "FROM a",
            "RUN x \\",
            "RUN <<E",
            "E",
            "# escape=`",
            "ARG A=$B",
            "COPY --from=",
            "`",
            "\"",
            "${",
            "",
            "FROM $A AS",
            "\0",
        ];
        var words = Gen.Int[0, parts.Length - 1].Select(i => parts[i]);
        Check.Sample(
            words.Array[0, 12],
            lines =>
            {
                if (Dockerfile.TryParse(string.Join('\n', lines), out var file, out _))
                {
                    try
                    {
                        new DockerfileBases(
                            file!,
                            new Dictionary<string, string>(),
                            Platform.LinuxAmd64,
                            Arm,
                            file!.Stages.Count - 1
                        ).References();
                    }
                    catch (FormatException)
                    {
                        // A variable without a value.
                    }
                }
            }
        );
    }

    private static DockerfileBases Bases(string text, string? target, Platform? build = null)
    {
        Assert.True(Dockerfile.TryParse(text, out var file, out var fault), fault);
        var args = new Dictionary<string, string> { ["GIVEN"] = "yes" };
        return new DockerfileBases(file!, args, Platform.LinuxAmd64, build ?? Arm, file!.StageIndex(target));
    }
}
