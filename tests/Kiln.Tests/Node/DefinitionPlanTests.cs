using Kiln.BuildSpec;
using Kiln.BuildSpec.Definitions;
using Kiln.Node.Engines;
using Kiln.Node.Engines.Apptainer;
using Kiln.Oci;

namespace Kiln.Tests.Node;

/// <summary>What Apptainer is given of a definition, and by what its finished parts are found again.</summary>
public sealed class DefinitionPlanTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("kiln-plan-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Lines_of_files_are_written_as_Apptainer_reads_them()
    {
        Write(
            """
            Bootstrap: scratch
            Stage: a

            Bootstrap: localimage
            From: base.sif

            %files
                'a b' "/c d"
                "-t"  # comment
                -S/opt
                *.txt /opt/
            %files from a
                /x y
            %files
                # nothing
            """.Replace("  # comment", "", StringComparison.Ordinal)
        );
        Assert.EndsWith(
            "Bootstrap: localimage\nFrom: /build/ctx/base.sif\n\n"
                + "%files\n    \"./a b\" \"/c d\"\n    \"./-t\"\n    \"./-S/opt\"\n    \"./*.txt\" \"/opt/\"\n\n"
                + "%files from a\n    \"/x\" \"y\"\n\n%files\n\n",
            Read("2/body.def")
        );
        Assert.Equal("a b\n-t\n-S/opt\n*.txt\n", Read("2/files"));
        Assert.Equal("base.sif\n", Read("2/local"));
        Assert.Equal("1\n", Read("2/from"));
    }

    [Fact]
    public void A_files_section_that_copies_nothing_is_no_step()
    {
        var plan = Write("Bootstrap: scratch\n%files\n  # later\n%post\n  true\n");
        Assert.Equal(["bootstrap", "post", "environment"], plan.Steps.Select(s => s.Section));
        Assert.Equal(
            plan.Steps[1].Line + "\n",
            new ApptainerLines(plan.Steps).Translate("INFO:    Running post scriptlet\n")
        );
    }

    [Fact]
    public void What_an_argument_says_of_the_base_is_in_the_key_of_the_labels()
    {
        const string text = "Bootstrap: localimage\nFrom: {{ BASE }}\n";
        Write(text, ("BASE", "a.sif"));
        var (body, meta) = (Read("1/body.key"), Read("1/meta.key"));
        Write(text, ("BASE", "b.sif"));
        Assert.NotEqual(body, Read("1/body.key"));
        Assert.NotEqual(meta, Read("1/meta.key"));
    }

    private DefinitionPlan Write(string text, params (string Name, string Value)[] args)
    {
        var definition = Definition.Parse(
            text,
            DefinitionArguments.For(args.ToDictionary(a => a.Name, a => a.Value), Platform.LinuxAmd64, null)
        );
        var task = new EngineTask
        {
            Directory = _directory,
            CacheScope = "hpc/app",
            Task = NodeSamples.Lease.Task,
            Recipe = text,
            Contexts = [],
            IsPublished = (_, _) => Task.FromResult(false),
            Bases = [],
        };
        var plan = new DefinitionPlan(task, definition, definition.Stages.Count - 1, "apptainer 1.4.5", "");
        plan.Write();
        return plan;
    }

    private string Read(string name) => File.ReadAllText(Path.Combine(_directory, "build", "plan", name));
}
