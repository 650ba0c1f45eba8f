namespace Kiln.Tests.Architecture;

/// <summary>Sizes that keep a file readable. Functions are held to 60 lines by the analyzer (MA0051).</summary>
public sealed class SizeTests
{
    private const int MaxLines = 400;

    [Fact]
    public void No_source_file_is_longer_than_400_lines()
    {
        var tooLong =
            from folder in new[] { "src", "tests" }
            from file in SourceTree.CSharpFiles(folder)
            let lines = File.ReadLines(file).Count()
            where lines > MaxLines
            select $"{SourceTree.Relative(file)}: {lines} lines";

        Assert.Empty(tooLong);
    }

    [Fact]
    public void No_project_file_is_longer_than_25_lines()
    {
        var tooLong =
            from file in Directory.EnumerateFiles(SourceTree.Root, "*.csproj", SearchOption.AllDirectories)
            let lines = File.ReadLines(file).Count()
            where lines > 25
            select $"{SourceTree.Relative(file)}: {lines} lines";

        Assert.Empty(tooLong);
    }
}
