using Kiln.Oci;

namespace Kiln.Server.Storage.FileSystem;

/// <summary>
/// Many small blobs at once: all are written, the file system is flushed once, all are renamed, it is flushed once more.
/// Flushing each by itself would ask the disk thousands of times where pushes come fast.
/// </summary>
internal static class SmallBlobs
{
    // From so many on, flushing the whole file system asks the disk less often than flushing files and directories.
    private const int Many = 4;

    /// <summary>Stores those that are not there yet; all of them are durable when it returns.</summary>
    public static void Put(
        DataDirectory directory,
        IReadOnlyList<(Digest Digest, ReadOnlyMemory<byte> Bytes)> blobs,
        Func<Digest, string> pathOf
    )
    {
        var disk = directory.Disk;
        var written = new List<(string Temporary, string Path)>();
        foreach (var (digest, bytes) in blobs.DistinctBy(blob => blob.Digest))
        {
            var path = pathOf(digest);
            if (new FileInfo(path) is not { Exists: true } file || file.Length != bytes.Length)
            {
                var temporary = Path.Combine(directory.Uploads, Guid.NewGuid().ToString("n"));
                Write(temporary, bytes, blobs.Count < Many ? disk : null);
                written.Add((temporary, path));
            }
        }

        if (written.Count == 0)
        {
            return;
        }

        if (blobs.Count >= Many)
        {
            disk.FlushFileSystem(directory.Uploads);
        }

        foreach (var (temporary, path) in written)
        {
            FileUpload.CreateDirectories(disk, Path.GetDirectoryName(path)!);
            File.Move(temporary, path, overwrite: true);
        }

        if (blobs.Count >= Many)
        {
            disk.FlushFileSystem(directory.Blobs);
        }
        else
        {
            written.ForEach(blob => disk.FlushDirectory(Path.GetDirectoryName(blob.Path)!));
        }
    }

    private static void Write(string path, ReadOnlyMemory<byte> bytes, Disk? disk)
    {
        using var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write, preallocationSize: 0);
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        RandomAccess.Write(file, bytes.Span, 0);
        disk?.Flush(file);
    }
}
