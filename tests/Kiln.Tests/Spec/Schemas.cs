using System.Text.Json;
using Json.Schema;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Spec;

/// <summary>The JSON schemas of the extension, <c>spec/schemas</c>.</summary>
internal static class Schemas
{
    private static readonly EvaluationOptions Options = new()
    {
        OutputFormat = OutputFormat.List,
        RequireFormatValidation = true,
    };

    // What others refer to is read first.
    private static readonly Lazy<Dictionary<string, JsonSchema>> Read = new(() =>
        new[] { "common", "job", "hook" }
            .Concat(Names(Folder))
            .Distinct(StringComparer.Ordinal)
            .ToDictionary(
                name => name,
                name => JsonSchema.FromText(File.ReadAllText(Path.Combine(Folder, name + ".json"))),
                StringComparer.Ordinal
            )
    );

    public static string Folder => Path.Combine(SourceTree.Root, "spec", "schemas");
    public static string Examples => Path.Combine(SourceTree.Root, "spec", "examples");

    /// <summary>The files of a folder, without <c>.json</c>.</summary>
    public static IEnumerable<string> Names(string folder) =>
        Directory
            .EnumerateFiles(folder, "*.json")
            .Select(file => Path.GetFileNameWithoutExtension(file))
            .Order(StringComparer.Ordinal);

    /// <summary>The schema of an example: its whole name, or what stands before a hyphen.</summary>
    public static string Of(string example)
    {
        var name = example;
        while (!Read.Value.ContainsKey(name))
        {
            var hyphen = name.LastIndexOf('-');
            Assert.True(hyphen > 0, $"the example {example} has no schema");
            name = name[..hyphen];
        }

        return name;
    }

    /// <summary>What is wrong with a document; nothing where it is valid.</summary>
    public static IReadOnlyList<string> Faults(string schema, string json)
    {
        using var document = JsonDocument.Parse(json);
        var result = Read.Value[schema].Evaluate(document.RootElement, Options);
        return result.IsValid
            ? []
            :
            [
                $"{schema}:",
                .. (result.Details ?? [])
                    .Where(detail => detail.Errors is not null)
                    .Select(detail =>
                        $"{detail.InstanceLocation} {string.Join("; ", detail.Errors!.Select(e => e.Value))}"
                    ),
            ];
    }
}
