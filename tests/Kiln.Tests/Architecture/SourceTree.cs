using System.Runtime.CompilerServices;

namespace Kiln.Tests.Architecture;

/// <summary>The checkout that these tests were built from.</summary>
internal static class SourceTree
{
    public static string Root { get; } = FindRoot();

    /// <summary>Every C# file below a folder of the checkout, without what the compiler makes.</summary>
    public static IEnumerable<string> CSharpFiles(string folder)
    {
        var top = Path.Combine(Root, folder);
        return Directory.Exists(top)
            ? Directory
                .EnumerateFiles(top, "*.cs", SearchOption.AllDirectories)
                .Where(file => !InFolder(file, "obj") && !InFolder(file, "bin"))
                .Order(StringComparer.Ordinal)
            : [];
    }

    public static string Relative(string file) => Path.GetRelativePath(Root, file);

    private static bool InFolder(string file, string folder) =>
        file.Contains($"{Path.DirectorySeparatorChar}{folder}{Path.DirectorySeparatorChar}", StringComparison.Ordinal);

    private static string FindRoot([CallerFilePath] string here = "")
    {
        var directory = Path.GetDirectoryName(here);
        while (directory is not null && !File.Exists(Path.Combine(directory, "kiln.slnx")))
            directory = Path.GetDirectoryName(directory);
        return directory ?? throw new InvalidOperationException($"No kiln.slnx above {here}");
    }
}
