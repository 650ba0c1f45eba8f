using CsCheck;
using Kiln.BuildSpec.Definitions;
using Kiln.Oci;

namespace Kiln.Tests.BuildSpec;

public sealed class DefinitionTests
{
    private const string Head = "Bootstrap: docker\nFrom: debian:12\n";

    private const string TwoStages = """
        # a comment before all
        Bootstrap: docker
        From: debian:12   # the base
        Stage: build

        %post -c /bin/bash
            make
        %files
            src /src
        %files
            more.txt

        BootStrap: oras
        From: registry.example/app:1

        %files from build
            /src/app /usr/bin/app
        %runscript
            exec app "$@"
        %POST
            true
        %post
            false
        """;

    [Fact]
    public void A_definition_is_read_into_stages_headers_and_sections()
    {
        var definition = Parse(TwoStages);
        var (build, last) = (definition.Stages[0], definition.Stages[1]);
        Assert.Equal(("build", "docker", "debian:12"), (build.Name, build.Agent, build.From));
        Assert.Equal("-c /bin/bash", build.Section("post")!.Arguments);
        Assert.Equal(
            [("src", "/src"), ("more.txt", null)],
            build.Files.SelectMany(f => f.Items).Select(i => (i.Source, i.Destination))
        );
        Assert.Null(last.Name);
        Assert.Equal("build", Assert.Single(last.Files).Stage);
        Assert.Equal("    true\n    false\n", last.Section("post")!.Body);
        Assert.Null(last.Section("test"));
        Assert.Equal([0, 1], definition.Needed(1));
        Assert.Equal([0], definition.Needed(0));
        Assert.Equal(
            (0, 1, -1),
            (definition.StageIndex("build"), definition.StageIndex(null), definition.StageIndex("other"))
        );
    }

    [Fact]
    public void Its_bases_are_images_and_SIF_files_of_registries()
    {
        var bases = Parse(TwoStages + "\nBootstrap: scratch\n").Bases(1, Platform.LinuxAmd64);
        Assert.Equal(["debian:12", "registry.example/app:1"], bases.Select(b => b.Written));
        Assert.Equal([false, true], bases.Select(b => b.IsSif));
        Assert.Empty(Parse(TwoStages + "\nBootstrap: scratch\n").Bases(2, Platform.LinuxAmd64));
    }

    [Theory]
    [InlineData("%post\n  echo {{ A }}", "  echo given")]
    [InlineData("%arguments\n  B=one\n%post\n  echo {{B}}", "  echo one")]
    [InlineData("%arguments\n  A=one\n%post\n  echo {{ A }}", "  echo given")]
    [InlineData("%arguments\n  B=x{{ A }}\n%post\n  echo {{ B }}", "  echo xgiven")]
    [InlineData("%post\n  # {{ NOT }} here", "  # {{ NOT }} here")]
    [InlineData("%post\n  echo {{ .Go.Template }}", "  echo {{ .Go.Template }}")]
    [InlineData("%post\n  echo {{ TARGETARCH }}", "  echo arm64")]
    [InlineData("%post\n  echo {{ TARGETMICROARCHITECTURE }}", "  echo neoverse_v1")]
    public void Arguments_are_filled_in(string sections, string post)
    {
        var args = DefinitionArguments.For(
            new Dictionary<string, string> { ["A"] = "given" },
            new Platform("linux", "arm64"),
            "neoverse_v1"
        );
        Assert.Equal(post, Definition.Parse(Head + sections, args).Stages[0].Section("post")!.Body.TrimEnd('\n'));
    }

    [Fact]
    public void An_argument_that_the_definition_does_not_know_is_found()
    {
        const string text = Head + "%arguments\n  A=1\n%post\n  echo {{ B }}\n  C=2";
        Assert.Null(DefinitionArguments.Unknown(text, ["A", "B"]));
        Assert.Equal("C", DefinitionArguments.Unknown(text, ["A", "C"]));
    }

    [Theory]
    [InlineData("", "line 1: there is no line that begins with 'Bootstrap:'")]
    [InlineData("FROM debian", "line 1: there is no line that begins with 'Bootstrap:'")]
    [InlineData("\0", "not a text file")]
    [InlineData("%post\n x\nBootstrap: docker\nFrom: a", "line 1: only comments")]
    [InlineData("Bootstrap: docker\n", "line 1: Bootstrap: docker needs a line 'From:'")]
    [InlineData("Bootstrap: docker\nFrom: http://a b", "line 1: 'http://a b' is not an image reference")]
    [InlineData(
        "Bootstrap: yum\nOSVersion: 7",
        "line 1: the bootstrap agent 'yum' is not known here; there are docker, oras"
    )]
    [InlineData("Bootstrap: debootstrap\nOSVersion: bookworm", "needs a line 'MirrorURL:'")]
    [InlineData("Bootstrap: localimage\nFrom: /opt/x.sif", "there is no host to take files from here")]
    [InlineData("Bootstrap: localimage\nFrom: a/../../x.sif", "outside of the build's context")]
    [InlineData(Head + "Fingerprints: 1234", "line 3: the header 'fingerprints' is not one of those")]
    [InlineData(Head + "what is this", "line 3: 'what is this' is no line of a header")]
    [InlineData(Head + "%pots\n  make", "line 3: '%pots' is no section of a definition; there are %files, %post")]
    [InlineData(Head + "%post\n  x\n  %d\n", "line 5: '%d' is no section")]
    [InlineData(Head + "%setup\n  touch /x", "line 3: %setup would run on the machine that builds")]
    [InlineData(Head + "%appinstall foo\n  make", "line 3: %appinstall: applications inside a definition (SCIF)")]
    [InlineData(Head + "%files\n  ok\n  /etc/passwd", "line 5: %files /etc/passwd: there is no host")]
    [InlineData(Head + "%files\n  ../x", "line 4: %files ../x: it is outside of the build's context")]
    [InlineData(
        Head + "%files\n  $(id) /x",
        "line 4: %files $(id): a path may not have characters that mean something to a shell"
    )]
    [InlineData(
        Head + "%files\n  {a,/etc/passwd} /x",
        "line 4: %files {a,/etc/passwd}: a path may not have characters"
    )]
    [InlineData(Head + "%files\n  \"a\tb\"", "a path may not have characters that mean something to a shell")]
    [InlineData(Head + "%files\n  a\"b c\"d", "line 4: a quote in a line of %files is around a whole name")]
    [InlineData(Head + "%files\n  \"a\"b c", "line 4: a quote in a line of %files is around a whole name")]
    [InlineData(Head + "%files\n  'a\"' c", "line 4: a quote in a line of %files is around a whole name")]
    [InlineData(Head + "%files\n  \"a b", "line 4: a quote in a line of %files is around a whole name")]
    [InlineData(Head + "%files\n  \"\" c", "line 4: a quote in a line of %files is around a whole name")]
    [InlineData(
        Head + "%post\nboot\u017ftrap: docker\nFrom: evil/x",
        "line 4: a line that begins with 'Bootstrap:' begins a stage"
    )]
    [InlineData(Head + "%files\n  a b c", "line 4: a line of %files is a source and perhaps a destination")]
    [InlineData(Head + "%files from build\n  /a", "line 3: there is no stage 'build' before this one")]
    [InlineData(Head + "%files of build\n  /a", "line 3: write %files or %files from STAGE")]
    [InlineData(Head + "Stage: a\n" + Head + "Stage: a\n", "line 4: there is a stage 'a' already")]
    [InlineData(Head + "Stage: a b", "the name of a stage has letters")]
    [InlineData(Head + "%post\n  {{ NONE }}", "line 4: the argument 'NONE' has no value")]
    public void What_is_wrong_is_said_with_its_line(string text, string fault)
    {
        Assert.False(Definition.TryParse(text, None, out _, out var said));
        Assert.Contains(fault, said);
    }

    [Fact]
    public void A_value_cannot_bring_sections_with_it()
    {
        var args = DefinitionArguments.For(
            new Dictionary<string, string> { ["A"] = "x\n%setup\n  id" },
            Platform.LinuxAmd64,
            null
        );
        Assert.False(Definition.TryParse(Head + "%post\n  {{ A }}", args, out _, out var fault));
        Assert.Contains("has a line break", fault);
    }

    [Theory]
    [InlineData("%post\n{{ A }}\nFrom: evil/x\n")]
    [InlineData("%labels\n{{A}} docker\n")]
    public void A_value_cannot_bring_a_stage_with_it(string sections)
    {
        foreach (var value in new[] { "Bootstrap: docker", "bootSTRAP:", "boot\u017ftrap:" })
        {
            var args = DefinitionArguments.For(
                new Dictionary<string, string> { ["A"] = value },
                Platform.LinuxAmd64,
                null
            );
            Assert.False(Definition.TryParse(Head + sections, args, out _, out var fault));
            Assert.Contains("line 4: a line that begins with 'Bootstrap:' begins a stage", fault);
            Assert.True(Definition.TryParse(Head + "%post\n  echo {{ A }}\n", args, out _, out _));
        }
    }

    [Fact(Timeout = 20_000)]
    public async Task A_line_of_very_many_uses_is_read_in_its_own_length()
    {
        var args = DefinitionArguments.For(new Dictionary<string, string> { ["A"] = "" }, Platform.LinuxAmd64, null);
        // What looks like the beginning of a comment, and is none.
        var line = string.Concat(Enumerable.Repeat("#!{{A}}", 150_000));
        var definition = await Task.Run(
            () => Definition.Parse(Head + "%post\n" + line, args),
            TestContext.Current.CancellationToken
        );
        Assert.Equal(300_000, definition.Stages[0].Section("post")!.Body.TrimEnd('\n').Length);
    }

    [Fact]
    public void A_header_goes_on_after_a_backslash_and_quotes_hold_blanks()
    {
        var definition = Parse(
            "Bootstrap: docker\nFrom: registry.example/\\\n  app:1\n%files\n  \"a b\" '/c d'\n  # no\n"
        );
        Assert.Equal("registry.example/app:1", definition.Stages[0].From);
        Assert.Equal(("a b", "/c d", 5), Assert.Single(definition.Stages[0].Files[0].Items));
    }

    [Fact]
    public void Any_text_is_read_or_refused()
    {
        string[] parts =
        [
            "Bootstrap: docker\n",
            "From: a\n",
            "%post\n",
            "%files from x\n",
            "{{ A }}",
            "%",
            "\"",
            "\n",
            "Stage: x\\\n",
            "é",
        ];
        Gen.Int[0, parts.Length - 1]
            .List[0, 30]
            .Sample(chosen =>
            {
                var read = Definition.TryParse(
                    string.Concat(chosen.Select(c => parts[c])),
                    None,
                    out var definition,
                    out var fault
                );
                return read ? definition is not null : fault!.StartsWith("line ", StringComparison.Ordinal);
            });
    }

    private static IReadOnlyDictionary<string, string> None =>
        DefinitionArguments.For(new Dictionary<string, string>(), Platform.LinuxAmd64, null);

    private static Definition Parse(string text) =>
        Definition.TryParse(text, None, out var definition, out var fault)
            ? definition
            : throw new InvalidOperationException(fault);
}
