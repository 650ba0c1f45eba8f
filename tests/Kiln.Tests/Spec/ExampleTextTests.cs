using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Spec;

/// <summary>What the text shows is a file, and so is validated and replayed (<see cref="SchemaTests"/>).</summary>
public sealed class ExampleTextTests
{
    [Fact]
    public void Every_body_in_the_text_is_a_file()
    {
        var text = File.ReadAllText(Path.Combine(SourceTree.Root, "spec", "build-extension.md"));
        var bodies = Regex
            .Matches(text, "^ *```json\n(.*?)^ *```", RegexOptions.Singleline | RegexOptions.Multiline)
            .Concat(Regex.Matches(text, @"-d '(\{.*?\})'", RegexOptions.Singleline))
            .Select(match => JsonNode.Parse(match.Groups[1].Value))
            .ToList();
        var files = Schemas
            .Names(Schemas.Examples)
            .Select(name => JsonNode.Parse(File.ReadAllText(Path.Combine(Schemas.Examples, name + ".json"))))
            .ToList();

        Assert.NotEmpty(bodies);
        Assert.Equal(
            [],
            bodies
                .Where(body => !files.Exists(file => JsonNode.DeepEquals(file, body)))
                .Select(body => body!.ToJsonString())
        );
    }
}
