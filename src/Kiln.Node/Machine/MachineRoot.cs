namespace Kiln.Node.Machine;

/// <summary>Where a machine's files are read: its root, or for tests a directory with files of another machine.</summary>
internal sealed class MachineRoot(string path)
{
    public static readonly MachineRoot This = new("/");

    /// <summary>The file's text without blanks around it; null where it is not there or cannot be read.</summary>
    public string? Text(string file)
    {
        try
        {
            return File.ReadAllText(At(file)).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The file's lines; none where it cannot be read.</summary>
    public IReadOnlyList<string> Lines(string file) => Text(file)?.Split('\n') ?? [];

    public bool Has(string file) => Path.Exists(At(file));

    /// <summary>The names in a directory, in order; none where it cannot be read.</summary>
    public IReadOnlyList<string> Names(string directory)
    {
        try
        {
            return
            [
                .. Directory
                    .EnumerateFileSystemEntries(At(directory))
                    .Select(p => Path.GetFileName(p))
                    .Order(StringComparer.Ordinal),
            ];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    public string At(string file) => Path.Combine(path, file);
}
