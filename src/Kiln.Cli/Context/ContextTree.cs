using Kiln.Client.Archives;

namespace Kiln.Cli.Context;

/// <summary>One thing in a context. <see cref="Path"/> is relative, with <c>/</c>.</summary>
internal sealed record ContextEntry(string Path, string FullPath, FileKind Kind, UnixFileMode Mode);

/// <summary>The files of a context directory that are not ignored, sorted by path.</summary>
internal static class ContextTree
{
    /// <exception cref="InvalidDataException">There is a file that cannot be sent.</exception>
    public static List<ContextEntry> Read(string root, IgnorePatterns ignore)
    {
        var entries = new List<ContextEntry>();
        Walk(root, "", ignore, entries);
        entries.Sort((a, b) => string.CompareOrdinal(a.Path, b.Path));
        return entries;
    }

    /// <summary>Adds what is below <paramref name="folder"/>; says whether that was anything.</summary>
    private static bool Walk(string root, string folder, IgnorePatterns ignore, List<ContextEntry> entries)
    {
        var before = entries.Count;
        foreach (var fullPath in Directory.EnumerateFileSystemEntries(Path.Combine(root, folder)))
        {
            var name = Path.GetFileName(fullPath);
            var path = folder.Length == 0 ? name : $"{folder}/{name}";
            Require(!name.Contains('\ufffd', StringComparison.Ordinal), path, "its name is not valid UTF-8");
            var (kind, mode) = FileStatus.Of(fullPath);
            var ignored = ignore.IsIgnored(path);
            var entry = new ContextEntry(path, fullPath, kind, mode);
            if (kind == FileKind.Directory)
            {
                // A directory that is left out still stands above what a '!' pattern takes back.
                var holdsSome = (!ignored || ignore.TakesBack) && Walk(root, path, ignore, entries);
                if (!ignored || holdsSome)
                {
                    entries.Add(entry);
                }
            }
            else if (!ignored)
            {
                Require(kind != FileKind.Special, path, "it is a socket, a pipe or a device");
                entries.Add(entry);
            }
        }

        return entries.Count > before;
    }

    private static void Require(bool condition, string path, string why)
    {
        if (!condition)
        {
            throw new InvalidDataException(
                $"the context's file '{path}' cannot be sent: {why}; remove it, or name it in .containerignore"
            );
        }
    }
}
