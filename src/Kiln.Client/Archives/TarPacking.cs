using System.Formats.Tar;

namespace Kiln.Client.Archives;

/// <summary>Tars that depend on nothing but names and contents: sorted, without times and owners.</summary>
internal static class TarPacking
{
    private const UnixFileMode Readable = UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private const UnixFileMode Listable =
        Readable
        | UnixFileMode.UserWrite
        | UnixFileMode.UserExecute
        | UnixFileMode.GroupExecute
        | UnixFileMode.OtherExecute;

    /// <summary>
    /// Writes files under the names given, in that order, each folder before the first file in it, beside
    /// <paramref name="path"/> and then to it.
    /// </summary>
    public static async Task WriteAsync(
        string path,
        IReadOnlyList<(string Name, Func<Stream> Open)> files,
        CancellationToken cancel
    )
    {
        var temporary = $"{path}.{Guid.NewGuid():n}.part";
        try
        {
            await using (var file = File.Create(temporary))
            await using (var tar = new TarWriter(file, TarEntryFormat.Gnu))
            {
                var folders = new HashSet<string>(StringComparer.Ordinal);
                foreach (var (name, open) in files)
                {
                    await WriteFoldersAsync(tar, name, folders, cancel);
                    await using var content = open();
                    var entry = new GnuTarEntry(TarEntryType.RegularFile, name)
                    {
                        Mode = Readable | UnixFileMode.UserWrite,
                        ModificationTime = DateTimeOffset.UnixEpoch,
                        DataStream = content,
                    };
                    await tar.WriteEntryAsync(entry, cancel);
                }
            }

            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    // Skopeo gives folders that an archive lacks to root, and so cannot read such an archive as an ordinary user.
    private static async Task WriteFoldersAsync(
        TarWriter tar,
        string name,
        HashSet<string> written,
        CancellationToken cancel
    )
    {
        for (var end = name.IndexOf('/', StringComparison.Ordinal); end >= 0; end = name.IndexOf('/', end + 1))
        {
            if (written.Add(name[..end]))
            {
                var entry = new GnuTarEntry(TarEntryType.Directory, name[..(end + 1)])
                {
                    Mode = Listable,
                    ModificationTime = DateTimeOffset.UnixEpoch,
                };
                await tar.WriteEntryAsync(entry, cancel);
            }
        }
    }

    /// <summary>All files of a directory, the lists of a layout first.</summary>
    public static List<(string Name, Func<Stream> Open)> FilesOf(string root) =>
        [
            .. Directory
                .EnumerateFiles(root, "*", SearchOption.AllDirectories)
                .Select(file => (Name: Path.GetRelativePath(root, file), File: file))
                .OrderBy(f => f.Name.Contains('/', StringComparison.Ordinal))
                .ThenBy(f => f.Name, StringComparer.Ordinal)
                .Select(f => (f.Name, (Func<Stream>)(() => File.OpenRead(f.File)))),
        ];
}
