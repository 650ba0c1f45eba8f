using System.Text;
using System.Text.RegularExpressions;
using Kiln.Conformance;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Spec;

/// <summary><c>spec/requirements.md</c>: every requirement of the extension, and what looks at it.</summary>
internal static partial class RequirementTable
{
    private const string Head = """
        # Requirements and what looks at them

        Generated; do not edit. `KILN_WRITE_REQUIREMENTS=1` with the test class `RequirementTableTests` writes it anew.

        A *check* is one of [`kiln conformance`](../docs/conformance.md), for any registry. A *test* is one of Kiln's, about what no client sees, or not in the time that a run has.

        """;

    public static string Path => System.IO.Path.Combine(SourceTree.Root, "spec", "requirements.md");

    /// <summary>The numbers in the text, in their order.</summary>
    public static IReadOnlyList<string> Requirements =>
        [
            .. File.ReadLines(System.IO.Path.Combine(SourceTree.Root, "spec", "build-extension.md"))
                .Select(line => Number().Match(line))
                .Where(match => match.Success)
                .Select(match => match.Groups[1].Value),
        ];

    public static string Write()
    {
        var table = new StringBuilder(Head);
        Append(table, "The `_build` extension", Requirements);
        Append(
            table,
            "The distribution specification, by its endpoints",
            CheckTable
                .All.SelectMany(check => check.Requirements)
                .Where(number => !Own().IsMatch(number))
                .Distinct(StringComparer.Ordinal)
        );
        return table.ToString();
    }

    private static void Append(StringBuilder table, string title, IEnumerable<string> requirements)
    {
        table.Append($"\n## {title}\n\n| | checks | tests |\n|---|---|---|\n");
        foreach (var requirement in requirements)
        {
            var checks = CheckTable.All.Where(check =>
                check.Requirements.Contains(requirement, StringComparer.Ordinal)
            );
            var tests = Elsewhere.Tests.GetValueOrDefault(requirement) ?? [];
            var why = Elsewhere.Reasons.GetValueOrDefault(requirement);
            table.Append($"| {requirement} | {Code(checks.Select(check => check.Id))} | {why ?? Code(tests)} |\n");
        }
    }

    private static string Code(IEnumerable<string> names) => string.Join(", ", names.Select(name => $"`{name}`"));

    [GeneratedRegex(@"^- ([A-Z]-\d+)\. ")]
    private static partial Regex Number();

    [GeneratedRegex(@"^[A-Z]-\d+$")]
    public static partial Regex Own();
}
