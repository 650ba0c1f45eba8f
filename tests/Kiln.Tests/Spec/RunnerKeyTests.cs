using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Spec;

/// <summary>The runner makes build keys by itself: they have to be those of the text.</summary>
public sealed class RunnerKeyTests
{
    [Fact]
    public void The_published_vector_holds_for_the_runner()
    {
        var vector = JsonNode.Parse(
            File.ReadAllText(Path.Combine(SourceTree.Root, "spec", "build-key-test-vector.json"))
        )!;
        var document = JsonNode.Parse((string)vector["canonical"]!)!.AsObject();

        Assert.Equal((string)vector["canonical"]!, BuildKey.Canonical(document));
        Assert.Equal((string)vector["key"]!, BuildKey.Of(document));
    }
}
