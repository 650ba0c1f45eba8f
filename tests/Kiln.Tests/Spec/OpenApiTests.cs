using System.Text.RegularExpressions;
using Kiln.Tests.Architecture;
using YamlDotNet.RepresentationModel;

namespace Kiln.Tests.Spec;

/// <summary><c>spec/openapi.yaml</c>: every endpoint of the text, and no reference into nothing.</summary>
public sealed class OpenApiTests
{
    private static readonly string[] Methods = ["get", "head", "post", "put", "patch", "delete"];

    [Fact]
    public void Every_endpoint_of_the_text_is_described_and_no_other()
    {
        var paths = (YamlMappingNode)Read()["paths"];
        var described =
            from path in paths.Children
            from operation in ((YamlMappingNode)path.Value).Children
            where Methods.Contains(operation.Key.ToString(), StringComparer.Ordinal)
            let key = (YamlMappingNode)operation.Value
            select $"{key["x-endpoint"]} {operation.Key.ToString().ToUpperInvariant()} {Normal(path.Key.ToString())}";

        Assert.Equal(Endpoints().Order(StringComparer.Ordinal), described.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void No_operation_has_the_id_of_another()
    {
        var ids = Nodes(Read())
            .OfType<YamlMappingNode>()
            .Where(node => node.Children.ContainsKey("operationId"))
            .Select(node => node["operationId"].ToString());
        Assert.Equal(ids, ids.Distinct(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_reference_leads_somewhere()
    {
        var root = Read();
        var references = Nodes(root)
            .OfType<YamlMappingNode>()
            .Where(node => node.Children.ContainsKey("$ref"))
            .Select(node => node["$ref"].ToString())
            .Distinct(StringComparer.Ordinal)
            .ToList();

        Assert.NotEmpty(references);
        Assert.Equal([], references.Where(reference => !Leads(root, reference)));
    }

    /// <summary>The table at the beginning of the text, as <c>bld-N METHOD PATH</c>. HEAD goes with GET.</summary>
    private static IEnumerable<string> Endpoints() =>
        from line in File.ReadLines(Path.Combine(SourceTree.Root, "spec", "build-extension.md"))
        let row = Regex.Match(line, @"^\| (bld-\d+) \| (.*) \| \d+ \|$")
        where row.Success
        from part in row.Groups[2].Value.Split(';')
        let methods = Regex.Matches(part, @"\b(GET|POST|PUT|PATCH|DELETE)\b").Select(m => m.Value)
        from path in Regex.Matches(part, @"/v2/[^ `]+").Select(m => m.Value)
        from method in methods.Distinct(StringComparer.Ordinal)
        select $"{row.Groups[1].Value} {method} {Normal(path.Split(" of ")[0])}";

    private static string Normal(string path) =>
        Regex.Replace(Regex.Replace(path, @"\{[a-z]+\}", "{}"), @"\b(NAME|REFERENCE|TAG|ID|LEASE)\b", "{}");

    private static bool Leads(YamlMappingNode root, string reference)
    {
        if (!reference.StartsWith('#'))
        {
            return File.Exists(Path.Combine(SourceTree.Root, "spec", reference.Split('#')[0]));
        }

        YamlNode node = root;
        foreach (var part in reference[2..].Split('/'))
        {
            if (node is not YamlMappingNode mapping || !mapping.Children.TryGetValue(part, out node!))
            {
                return false;
            }
        }

        return true;
    }

    private static IEnumerable<YamlNode> Nodes(YamlNode node) => node.AllNodes;

    private static YamlMappingNode Read()
    {
        using var reader = File.OpenText(Path.Combine(SourceTree.Root, "spec", "openapi.yaml"));
        var yaml = new YamlStream();
        yaml.Load(reader);
        return (YamlMappingNode)yaml.Documents.Single().RootNode;
    }
}
