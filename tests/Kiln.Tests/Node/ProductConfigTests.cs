using System.Text;
using System.Text.Json.Nodes;
using Kiln.Node.Engines.Apptainer;
using Kiln.Node.Sandbox;

namespace Kiln.Tests.Node;

/// <summary>How an image is run, from what a build of a definition has left; which may be anything.</summary>
public sealed class ProductConfigTests : IDisposable
{
    private const string Base = """
        {"config":{"Env":["PATH=/usr/bin","QUOTE=say \"hi\" to $HOME$(id)","OLD=1","GONE=x"],"Cmd":["sh"],"Labels":{"of":"base"}}}
        """;

    private readonly string _build = Directory.CreateTempSubdirectory("kiln-product-").FullName;

    public void Dispose() => Directory.Delete(_build, recursive: true);

    [Fact]
    public void Only_what_the_definition_changes_is_other_than_in_the_base()
    {
        Write("env", "OLD=2\0NEW=a=b\nc\0PATH=/opt/bin:/usr/bin\0HOME=/x\0");
        Write("unset", "GONE\0HOME\0");
        var config = Complete();
        Assert.Equal(
            ["PATH=/opt/bin:/usr/bin", "QUOTE=say \"hi\" to $HOME$(id)", "OLD=2", "NEW=a=b\nc"],
            config["Env"]!.AsArray().Select(v => v!.ToString())
        );
        Assert.Equal("sh", config["Cmd"]![0]!.ToString());
    }

    [Theory]
    [InlineData("A=1\0A=2\0=3\0B\0\0", "{\"a\":\"1\",\"a\":\"2\"}")]
    [InlineData("A=2\0\ud800=\ud800\0", "{\"a\":\"\\ud800\"}")]
    [InlineData("A=2", "{\"a\":")]
    [InlineData("A=2", "[]")]
    public void What_a_build_writes_there_is_no_fault_of_the_node(string environment, string labels)
    {
        Write("env", environment);
        Write("labels.json", labels);
        Write("run", "#!/bin/sh\n");
        var config = Complete();
        Assert.Contains("A=2", config["Env"]!.AsArray().Select(v => v!.ToString()));
        Assert.Equal("/.singularity.d/oci/run", config["Entrypoint"]![0]!.ToString());
        Assert.Equal("base", config["Labels"]!["of"]!.ToString());
    }

    private JsonNode Complete() =>
        JsonNode.Parse(
            ProductConfig.Complete(
                Encoding.UTF8.GetBytes(Base),
                new UntrustedTree(_build),
                new Dictionary<string, string>()
            )
        )!["config"]!;

    private void Write(string name, string text)
    {
        Directory.CreateDirectory(Path.Combine(_build, "meta"));
        File.WriteAllText(Path.Combine(_build, "meta", name), text);
    }
}
