using System.Text.RegularExpressions;

namespace Kiln.Tests.Architecture;

/// <summary>Operators are told to install what the tests install.</summary>
public sealed partial class PackageListTests
{
    [Fact]
    public void The_guide_names_the_packages_that_the_tests_build_definitions_with() =>
        Assert.Equal(Of("eng/apptainer-root.sh", Script()), Of("docs/guide/definitions.md", Guide()));

    private static string Of(string file, Regex list) =>
        Assert.Single(
            list.Matches(File.ReadAllText(Path.Combine(SourceTree.Root, file))).Select(m => m.Groups[1].Value)
        );

    [GeneratedRegex(@"^    packages=(\S+)$", RegexOptions.Multiline, 1000)]
    private static partial Regex Script();

    [GeneratedRegex(@"^ +--include=(\S+)", RegexOptions.Multiline, 1000)]
    private static partial Regex Guide();
}
