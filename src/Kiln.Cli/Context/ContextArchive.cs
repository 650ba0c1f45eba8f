using System.Formats.Tar;
using System.IO.Compression;
using Kiln.BuildSpec;
using Kiln.Client.Archives;
using Kiln.Oci;

namespace Kiln.Cli.Context;

/// <summary>A packed context in a temporary file, which goes away with it.</summary>
internal sealed class ContextArchive : IDisposable
{
    // One time for every file, so that the same files are the same blob. Not 1970: zip-based tools (Python wheels,
    // jar) cannot hold times before 1980; Gradle's reproducible archives use this very day for the same reason.
    private static readonly DateTimeOffset Stamp = new(1980, 2, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly string _path;

    private ContextArchive(string path, Descriptor descriptor, int files) =>
        (_path, Descriptor, Files) = (path, descriptor, files);

    public Descriptor Descriptor { get; }

    /// <summary>Entries in it, directories included.</summary>
    public int Files { get; }

    public Stream Open() => File.OpenRead(_path);

    public void Dispose() => File.Delete(_path);

    /// <summary>
    /// Packs entries as a GNU tar, compressed: owners 0, one time, modes and symbolic links as they are.
    /// Hard links become files of their own. The archive's file is made in <paramref name="folder"/>.
    /// </summary>
    /// <exception cref="InvalidDataException">The archive would be larger than <paramref name="limit"/> bytes.</exception>
    public static async Task<ContextArchive> PackAsync(
        IReadOnlyList<ContextEntry> entries,
        long limit,
        string folder,
        CancellationToken cancel
    )
    {
        var path = Path.Combine(folder, $"kiln-context-{Guid.NewGuid():N}.tar.gz");
        try
        {
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,
                // A context may hold what others must not read.
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            };
            await using var file = new FileStream(path, options);
            await WriteAsync(entries, file, limit, cancel);
            file.Position = 0;
            var descriptor = new Descriptor
            {
                MediaType = BuildMediaTypes.Context,
                Digest = await Digest.OfAsync(file, Digest.Sha256, cancel),
                Size = file.Length,
            };
            return new ContextArchive(path, descriptor, entries.Count);
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    private static async Task WriteAsync(
        IReadOnlyList<ContextEntry> entries,
        FileStream file,
        long limit,
        CancellationToken cancel
    )
    {
        await using var gzip = new GZipStream(file, CompressionLevel.Fastest, leaveOpen: true);
        await using var tar = new TarWriter(gzip, TarEntryFormat.Gnu, leaveOpen: true);
        foreach (var entry in entries)
        {
            cancel.ThrowIfCancellationRequested();
            await AddAsync(tar, entry, cancel);
            if (file.Length > limit)
            {
                throw new InvalidDataException(
                    $"the context is larger than the {Sizes.Text(limit)} that the registry takes; "
                        + "name what the build does not need in .containerignore"
                );
            }
        }
    }

    private static async Task AddAsync(TarWriter tar, ContextEntry entry, CancellationToken cancel)
    {
        var type = entry.Kind switch
        {
            FileKind.Directory => TarEntryType.Directory,
            FileKind.SymbolicLink => TarEntryType.SymbolicLink,
            _ => TarEntryType.RegularFile,
        };
        var packed = new GnuTarEntry(type, entry.Kind == FileKind.Directory ? entry.Path + "/" : entry.Path)
        {
            Mode = entry.Mode,
            ModificationTime = Stamp,
            Uid = 0,
            Gid = 0,
        };
        if (type == TarEntryType.SymbolicLink)
        {
            packed.LinkName =
                new FileInfo(entry.FullPath).LinkTarget
                ?? throw new IOException($"{entry.Path} changed while it was packed");
        }

        await using var content =
            type == TarEntryType.RegularFile
                ? new FileStream(entry.FullPath, FileMode.Open, FileAccess.Read, FileShare.ReadWrite)
                : null;
        if (content is not null)
        {
            packed.DataStream = content;
        }

        await tar.WriteEntryAsync(packed, cancel);
    }
}
