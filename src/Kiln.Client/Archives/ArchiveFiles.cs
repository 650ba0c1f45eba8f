using System.Formats.Tar;
using Kiln.Inspect;

namespace Kiln.Client.Archives;

/// <summary>
/// The files of an image archive by their names, of a directory or of a tar that is read where it lies: nothing is ever
/// unpacked, so that no name in it leads anywhere.
/// </summary>
public sealed class ArchiveFiles : IDisposable
{
    /// <summary>Entries that a tar may have.</summary>
    public const int MaxEntries = 200_000;

    /// <summary>Characters that the names in a tar may have together.</summary>
    public const int MaxNameCharacters = 16 << 20;

    /// <summary>Bytes that a compressed tar may have once it is unpacked.</summary>
    public const long MaxPlainBytes = LayerFacts.MaxTarBytes;

    // A chain of links that is longer leads nowhere.
    private const int MaxLinks = 8;

    private readonly string _path;
    private readonly Dictionary<string, Entry>? _entries;
    private readonly bool _isTemporary;

    private ArchiveFiles(string path, Dictionary<string, Entry>? entries, bool isTemporary, string name) =>
        (_path, _entries, _isTemporary, Name) = (path, entries, isTemporary, name);

    /// <summary>As its user named it.</summary>
    public string Name { get; }

    /// <summary>Opens a directory or a tar, which may be compressed with gzip or zstd.</summary>
    /// <exception cref="InvalidDataException">It is neither, or made to mislead; the message says what is wrong.</exception>
    public static Task<ArchiveFiles> OpenAsync(string path, CancellationToken cancel) =>
        OpenAsync(path, MaxPlainBytes, cancel);

    /// <param name="path">The archive.</param>
    /// <param name="maxPlainBytes">As <see cref="MaxPlainBytes"/>.</param>
    /// <param name="cancel">Ends it.</param>
    /// <inheritdoc cref="OpenAsync(string, CancellationToken)"/>
    internal static async Task<ArchiveFiles> OpenAsync(string path, long maxPlainBytes, CancellationToken cancel)
    {
        if (Directory.Exists(path))
        {
            return new ArchiveFiles(Path.GetFullPath(path), null, isTemporary: false, path);
        }

        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"there is no file or directory {path}");
        }

        if (!IsRegular(path))
        {
            throw Wrong(path, "it is no regular file");
        }

        var plain = await IsPackedAsync(path, cancel) ? await UnpackAsync(path, maxPlainBytes, cancel) : path;
        try
        {
            return new ArchiveFiles(plain, await IndexAsync(plain, path, cancel), plain != path, path);
        }
        catch
        {
            if (plain != path)
            {
                File.Delete(plain);
            }

            throw;
        }
    }

    public void Dispose()
    {
        if (_isTemporary)
        {
            File.Delete(_path);
        }
    }

    /// <summary>The size of a file in bytes; null where there is none.</summary>
    /// <param name="name">With slashes, relative; from a digest or from the archive's own lists.</param>
    /// <exception cref="InvalidDataException">It is a link that leads out, or no regular file.</exception>
    public long? Size(string name) => _entries is null ? OnDisk(name)?.Length : InTar(name)?.Size;

    /// <summary>Opens a file; null where there is none.</summary>
    /// <inheritdoc cref="Size"/>
    public Stream? Open(string name)
    {
        if (_entries is null)
        {
            return OnDisk(name)?.OpenRead();
        }

        return InTar(name) is { } entry ? new FileSection(_path, entry.Offset, entry.Size) : null;
    }

    /// <summary>Reads a file whole.</summary>
    /// <param name="name">As of <see cref="Open"/>.</param>
    /// <param name="limit">Bytes at most.</param>
    /// <param name="cancel">Ends it.</param>
    public async Task<byte[]?> ReadAsync(string name, int limit, CancellationToken cancel)
    {
        if (Size(name) is not { } size)
        {
            return null;
        }

        if (size > limit)
        {
            throw Wrong($"{name} has {size} bytes; {limit} is the limit");
        }

        await using var stream = Open(name)!;
        using var bytes = new MemoryStream((int)size);
        await stream.CopyToAsync(bytes, cancel);
        return bytes.ToArray();
    }

    /// <summary>Says what is wrong with the archive.</summary>
    public InvalidDataException Wrong(string what) => new($"{Name}: {what}; nothing of it was used");

    private FileInfo? OnDisk(string name)
    {
        var path = _path;
        foreach (var part in Normal(name, Name).Split('/'))
        {
            path = Path.Combine(path, part);
            if (new FileInfo(path).LinkTarget is not null)
            {
                throw Wrong($"{name} is a link");
            }
        }

        if (!File.Exists(path))
        {
            return null;
        }

        return IsRegular(path) ? new FileInfo(path) : throw Wrong($"{name} is no regular file");
    }

    // Opening a pipe would wait for somebody to write into it. What the user named may be a link to a file.
    private static bool IsRegular(string path) =>
        FileStatus.Of(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path).Kind == FileKind.Regular;

    private Entry? InTar(string name)
    {
        var at = Normal(name, Name);
        for (var links = 0; _entries!.TryGetValue(at, out var entry); links++)
        {
            if (entry.Link is null)
            {
                return entry;
            }

            if (links == MaxLinks)
            {
                throw Wrong($"{name} is a link that leads nowhere");
            }

            at = entry.Link;
        }

        return null;
    }

    private static async Task<Dictionary<string, Entry>> IndexAsync(string path, string name, CancellationToken cancel)
    {
        var entries = new Dictionary<string, Entry>(StringComparer.Ordinal);
        await using var file = File.OpenRead(path);
#pragma warning disable CA2000 // it owns nothing but the file
        await using var reader = new TarReader(new TarHeaderGuard(file));
#pragma warning restore CA2000
        var characters = 0L;
        while (await NextAsync(reader, name, cancel) is { } entry)
        {
            if (Read(entry, file.Length, name) is not { } read)
            {
                continue;
            }

            characters += entry.Name.Length + (read.Link?.Length ?? 0);
            if (characters > MaxNameCharacters)
            {
                throw Wrong(name, $"its names have more than {MaxNameCharacters} characters");
            }

            if (!entries.TryAdd(Normal(entry.Name, name), read))
            {
                throw Wrong(name, $"it has {entry.Name} twice");
            }

            if (entries.Count > MaxEntries)
            {
                throw Wrong(name, $"it has more than {MaxEntries} entries");
            }
        }

        return entries.Count > 0 ? entries : throw Wrong(name, "it is no tar with files in it");
    }

    private static async Task<TarEntry?> NextAsync(TarReader reader, string name, CancellationToken cancel)
    {
        try
        {
            return await reader.GetNextEntryAsync(copyData: false, cancel);
        }
        catch (OversizeException e)
        {
            throw Wrong(name, e.Message);
        }
        catch (Exception e)
            when (e
                    is EndOfStreamException
                        or InvalidDataException
                        or FormatException
                        or ArgumentException
                        or OverflowException
                        or NotSupportedException
            )
        {
            throw Wrong(name, $"it is no tar, or cut off ({e.Message})");
        }
    }

    // Null for what has no content of its own.
    private static Entry? Read(TarEntry entry, long length, string name)
    {
        switch (entry.EntryType)
        {
            case TarEntryType.Directory or TarEntryType.GlobalExtendedAttributes:
                return null;
            case TarEntryType.RegularFile or TarEntryType.V7RegularFile or TarEntryType.ContiguousFile:
                return entry.Length <= length - Math.Max(entry.DataOffset, 0)
                    ? new Entry(Math.Max(entry.DataOffset, 0), entry.Length, null)
                    : throw Wrong(name, $"it is cut off in {entry.Name}");
            // docker save wrote layers that it had twice as links.
            case TarEntryType.SymbolicLink:
                var folder = entry.Name.LastIndexOf('/') is var slash and > 0 ? entry.Name[..slash] + "/" : "";
                return new Entry(
                    0,
                    0,
                    Normal(entry.LinkName.StartsWith('/') ? entry.LinkName : folder + entry.LinkName, name)
                );
            case TarEntryType.HardLink:
                return new Entry(0, 0, Normal(entry.LinkName, name));
            default:
                throw Wrong(name, $"{entry.Name} is no file but a {entry.EntryType}");
        }
    }

    // "a/./b/../c" is a/c; what is absolute or leads out is refused.
    private static string Normal(string name, string archive)
    {
        if (name.StartsWith('/') || name.Contains('\0', StringComparison.Ordinal))
        {
            throw Wrong(archive, $"'{name}' is an absolute path");
        }

        var parts = new List<string>();
        foreach (var part in name.Split('/'))
        {
            if (part == "..")
            {
                if (parts.Count == 0)
                {
                    throw Wrong(archive, $"'{name}' leads out of it");
                }

                parts.RemoveAt(parts.Count - 1);
            }
            else if (part is not ("" or "."))
            {
                parts.Add(part);
            }
        }

        return string.Join('/', parts);
    }

    private static InvalidDataException Wrong(string name, string what) =>
        new($"{name}: {what}; nothing of it was used");

    private static async Task<bool> IsPackedAsync(string path, CancellationToken cancel)
    {
        await using var file = File.OpenRead(path);
        return await LayerStream.IsCompressedAsync(file, cancel);
    }

    // A tar is read here and there, which a compressed one cannot be.
    private static async Task<string> UnpackAsync(string path, long maxPlainBytes, CancellationToken cancel)
    {
        var plain = Path.GetTempFileName();
        try
        {
            await using var packed = await LayerStream.OpenAsync(File.OpenRead(path), maxPlainBytes, cancel);
            await using var target = File.Create(plain);
            await packed.CopyToAsync(target, cancel);
            return plain;
        }
        catch (Exception e)
        {
            File.Delete(plain);
            if (LayerStream.IsFault(e))
            {
                throw Wrong(path, e.Message);
            }

            throw;
        }
    }

    private sealed record Entry(long Offset, long Size, string? Link);
}
