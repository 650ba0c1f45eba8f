using System.Text.RegularExpressions;
using Kiln.Conformance;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Spec;

/// <summary>No requirement without somebody who looks at it.</summary>
public sealed class RequirementTableTests
{
    [Fact]
    public async Task The_table_is_what_the_checks_say()
    {
        if (Environment.GetEnvironmentVariable("KILN_WRITE_REQUIREMENTS") == "1")
        {
            await File.WriteAllTextAsync(
                RequirementTable.Path,
                RequirementTable.Write(),
                TestContext.Current.CancellationToken
            );
        }

        var there = await File.ReadAllTextAsync(RequirementTable.Path, TestContext.Current.CancellationToken);
        Assert.True(
            RequirementTable.Write() == there,
            "spec/requirements.md is not what the text, the checks and Elsewhere.cs say: run this test with KILN_WRITE_REQUIREMENTS=1"
        );
    }

    [Fact]
    public void Every_requirement_of_the_text_is_looked_at()
    {
        var forgotten = RequirementTable
            .Requirements.Where(requirement =>
                !CheckTable.All.Any(check => check.Requirements.Contains(requirement, StringComparer.Ordinal))
                && !Elsewhere.Tests.ContainsKey(requirement)
                && !Elsewhere.Reasons.ContainsKey(requirement)
            )
            .ToList();
        Assert.True(
            forgotten.Count == 0,
            $"nothing looks at {string.Join(", ", forgotten)}: write a check (src/Kiln.Conformance), or name a test in Elsewhere.cs"
        );
    }

    [Fact]
    public void Nothing_looks_at_a_requirement_that_is_not_in_the_text()
    {
        var known = RequirementTable.Requirements;
        Assert.Equal(known, known.Distinct(StringComparer.Ordinal));
        var named = CheckTable
            .All.SelectMany(check => check.Requirements)
            .Where(number => RequirementTable.Own().IsMatch(number))
            .Concat(Elsewhere.Tests.Keys)
            .Concat(Elsewhere.Reasons.Keys);
        Assert.Equal([], named.Except(known, StringComparer.Ordinal));
    }

    [Fact]
    public void Checks_have_names_of_their_own_and_a_category()
    {
        var ids = CheckTable.All.Select(check => check.Id).ToList();
        Assert.Equal(ids, ids.Distinct(StringComparer.Ordinal));
        Assert.All(CheckTable.All, check => Assert.Contains(check.Category, Categories.All));
    }

    /// <summary>A test that was renamed looks at nothing any more.</summary>
    [Fact]
    public void The_tests_that_are_named_are_there()
    {
        var there = SourceTree.CSharpFiles("tests").SelectMany(Methods).ToHashSet(StringComparer.Ordinal);
        Assert.Equal([], Elsewhere.Tests.Values.SelectMany(tests => tests).Where(test => !there.Contains(test)));
    }

    private static IEnumerable<string> Methods(string file) =>
        Regex
            .Matches(File.ReadAllText(file), @"public (?:async )?(?:Task|void|ValueTask) (\w+)\(")
            .Select(method => $"{Path.GetFileNameWithoutExtension(file)}.{method.Groups[1].Value}");
}
