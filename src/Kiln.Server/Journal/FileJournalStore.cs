using Kiln.Server.Storage;

namespace Kiln.Server.Journal;

/// <summary>Segments as files in <c>journal/</c> of the data directory.</summary>
internal sealed class FileJournalStore(DataDirectory directory) : IJournalStore
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public bool CanAppend => true;

    public Task<IReadOnlyList<(JournalSegment Segment, long Size)>> ListAsync(CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<(JournalSegment, long)>>([
            .. from file in new DirectoryInfo(directory.Journal).EnumerateFiles()
            let segment = JournalSegment.Parse(file.Name)
            where segment is not null
            select (segment, file.Length),
        ]);

    public Task AppendAsync(JournalSegment segment, ReadOnlyMemory<byte> bytes, CancellationToken cancel) =>
        // Flushing blocks for as long as the disk takes.
        Task.Run(
            () =>
            {
                var path = PathOf(segment);
                var isNew = !File.Exists(path);
                var options = new FileStreamOptions
                {
                    Mode = FileMode.Append,
                    Access = FileAccess.Write,
                    BufferSize = 0,
                    UnixCreateMode = Private,
                };
                using (var file = new FileStream(path, options))
                {
                    file.Write(bytes.Span);
                    directory.Disk.Flush(file.SafeFileHandle);
                }

                if (isNew)
                {
                    directory.Disk.FlushDirectory(directory.Journal);
                }
            },
            cancel
        );

    public Task PutAsync(JournalSegment segment, string file, CancellationToken cancel) =>
        Task.Run(
            () =>
            {
                using (var handle = File.OpenHandle(file, FileMode.Open, FileAccess.ReadWrite))
                {
                    directory.Disk.Flush(handle);
                }

                File.Move(file, PathOf(segment), overwrite: true);
                directory.Disk.FlushDirectory(directory.Journal);
            },
            cancel
        );

    public Task<Stream> OpenAsync(JournalSegment segment, CancellationToken cancel) =>
        Task.FromResult<Stream>(
            new FileStream(
                PathOf(segment),
                new FileStreamOptions { BufferSize = 0, Share = FileShare.ReadWrite | FileShare.Delete }
            )
        );

    public Task DeleteAsync(JournalSegment segment, CancellationToken cancel)
    {
        File.Delete(PathOf(segment));
        return Task.CompletedTask;
    }

    public Task<string?> SetAsideAsync(string mark, CancellationToken cancel)
    {
        if (!Directory.EnumerateFileSystemEntries(directory.Journal).Any())
        {
            return Task.FromResult<string?>(null);
        }

        var aside = $"{directory.Journal}.aside-{mark}";
        Directory.Move(directory.Journal, aside);
        Directory.CreateDirectory(directory.Journal, Private | UnixFileMode.UserExecute);
        Posix.FlushDirectory(directory.Root);
        return Task.FromResult<string?>(aside);
    }

    private string PathOf(JournalSegment segment) => Path.Combine(directory.Journal, segment.Name);
}
