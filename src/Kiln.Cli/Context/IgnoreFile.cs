namespace Kiln.Cli.Context;

/// <summary>Which ignore file holds for a build.</summary>
internal static class IgnoreFile
{
    /// <summary>
    /// The one beside the recipe with its name (<c>Containerfile.dev.dockerignore</c>), else the context's own;
    /// podman's name before docker's.
    /// </summary>
    public static IgnorePatterns Read(string context, string? recipe)
    {
        string?[] candidates =
        [
            recipe is null ? null : recipe + ".containerignore",
            recipe is null ? null : recipe + ".dockerignore",
            Path.Combine(context, ".containerignore"),
            Path.Combine(context, ".dockerignore"),
        ];
        var path = Array.Find(candidates, File.Exists);
        return path is null ? IgnorePatterns.None : IgnorePatterns.Parse(File.ReadLines(path), path);
    }
}
