namespace Kiln.Inspect.Rewriting;

/// <summary>Opens a layer's blob, compressed or not, from its first byte; the same each time.</summary>
public delegate ValueTask<Stream> OpenLayer(int layer, CancellationToken cancel);

/// <summary>A file, directory or link that is added where the image has nothing at its path.</summary>
/// <param name="Path">Without a leading slash.</param>
/// <param name="Content">Of a file; of a symbolic link where it leads.</param>
public sealed record AddedFile(string Path, char Type, int Mode, string Content = "");

/// <summary>How layers are merged.</summary>
public sealed record MergeOptions
{
    /// <summary>
    /// For file systems that one user mounts: everything is root's, set-id bits of what was not root's, device nodes and all
    /// attributes but those of users are left out.
    /// </summary>
    public bool OneOwner { get; init; }

    /// <summary>Added in their order, each where nothing is.</summary>
    public IReadOnlyList<AddedFile> Added { get; init; } = [];

    /// <summary>The time of what is added, and of directories that no layer speaks of; seconds since 1970.</summary>
    public long Time { get; init; }
}

/// <summary>What merging found.</summary>
/// <param name="Entries">Files, directories and links.</param>
/// <param name="Bytes">Of content.</param>
/// <param name="Left">Sentences on what was left out or changed, for the log.</param>
public sealed record MergeReport(long Entries, long Bytes, IReadOnlyList<string> Left);

/// <summary>
/// Merges an image's layers into one tar, directories first and then files in the order of the layers: what unpacking them
/// over each other would leave. Reads each layer twice and holds no content in memory, only names, and of directories what
/// their headers say: at most <see cref="Weight.Most"/> bytes of it.
/// </summary>
public sealed class LayerMerge(int layers, OpenLayer open, MergeOptions options)
{
    /// <summary>More entries than that in all layers together are not merged.</summary>
    public const int MaxEntries = 4_000_000;

    private readonly MergedTree _tree = new();
    private long _entries;
    private long _bytes;
    private int _owners;
    private int _setIds;
    private int _devices;
    private int _attributes;

    /// <exception cref="InvalidDataException">A layer is damaged, or is nothing that can be unpacked.</exception>
    /// <exception cref="OversizeException">There is more of it than is read.</exception>
    public async Task<MergeReport> WriteAsync(Stream tar, CancellationToken cancel)
    {
        await ReadAsync((_, _) => ValueTask.CompletedTask, first: true, cancel);
        var writer = new RawTarWriter(tar);
        var added = options.Added.Where(a => !_tree.Has(a.Path)).ToList();
        foreach (var one in added.Where(a => a.Type == RawEntry.Directory))
        {
            _tree.Add(layers, -1, Entry(one));
        }

        var files = added.Where(a => a.Type != RawEntry.Directory).ToList();
        for (var i = 0; i < files.Count; i++)
        {
            _tree.Add(layers, i, Entry(files[i]));
        }

        var inodes = _tree.Inodes();
        foreach (var (path, entry) in _tree.Directories())
        {
            await PutAsync(writer, (entry ?? Implied(path)) with { Path = path }, cancel);
        }

        await ReadAsync(
            (at, source) => CopyAsync(writer, inodes.GetValueOrDefault(at), source, cancel),
            first: false,
            cancel
        );
        for (var i = 0; i < files.Count; i++)
        {
            if (inodes.TryGetValue((layers, i), out var inode))
            {
                await PutAsync(writer, Entry(files[i]) with { Path = inode.Paths[0] }, cancel);
                await writer.ContentAsync(ContentOf(files[i]), cancel);
            }
        }

        await writer.FinishAsync(cancel);
        return new MergeReport(_entries, _bytes, Sentences());
    }

    private async Task ReadAsync(
        Func<(int Layer, int Index), (RawEntry Entry, RawTarReader Reader), ValueTask> visit,
        bool first,
        CancellationToken cancel
    )
    {
        var count = 0;
        for (var layer = 0; layer < layers; layer++)
        {
            await using var plain = await LayerStream.OpenAsync(
                await open(layer, cancel),
                LayerFacts.MaxTarBytes,
                cancel
            );
            var reader = new RawTarReader(plain);
            for (var index = 0; await reader.NextAsync(cancel) is { } entry; index++)
            {
                if (++count > MaxEntries)
                {
                    throw new OversizeException($"the image has more than {MaxEntries} entries");
                }

                if (first)
                {
                    _tree.Add(layer, index, entry);
                }
                else
                {
                    await visit((layer, index), (entry, reader));
                }
            }
        }
    }

    private async ValueTask CopyAsync(
        RawTarWriter writer,
        MergedInode? inode,
        (RawEntry Entry, RawTarReader Reader) source,
        CancellationToken cancel
    )
    {
        if (inode is null || (options.OneOwner && source.Entry.IsDevice && Count(ref _devices)))
        {
            return;
        }

        var entry = source.Entry with { Path = inode.Paths[0] };
        await PutAsync(writer, entry, cancel);
        var buffer = new byte[(int)Math.Min(entry.Size, 1 << 17)];
        for (int read; (read = await source.Reader.ReadAsync(buffer, cancel)) > 0; )
        {
            await writer.ContentAsync(buffer.AsMemory(0, read), cancel);
        }

        foreach (var path in inode.Paths.Skip(1))
        {
            await PutAsync(
                writer,
                entry with
                {
                    Path = path,
                    Type = RawEntry.HardLink,
                    Target = entry.Path,
                    Size = 0,
                    Records = [],
                    SparseHeader = null,
                },
                cancel
            );
        }
    }

    private async ValueTask PutAsync(RawTarWriter writer, RawEntry entry, CancellationToken cancel)
    {
        _entries++;
        _bytes += entry.Size;
        await writer.WriteAsync(options.OneOwner ? Flat(entry) : entry, cancel);
    }

    private RawEntry Flat(RawEntry entry)
    {
        var foreign = entry.Owner != 0 || entry.Group != 0;
        var setId = foreign && (entry.Mode & RawEntry.SetIdBits) != 0;
        var kept = entry
            .Records.Where(r =>
                RawAttributes.NameOf(r.Key) is { } name
                    ? name.StartsWith("user.", StringComparison.Ordinal)
                    : !RawAttributes.IsAccessList(r.Key)
            )
            .ToList();
        _ = (foreign && Count(ref _owners), setId && Count(ref _setIds));
        _ = kept.Count < entry.Records.Count && Count(ref _attributes);
        return entry with
        {
            Owner = 0,
            Group = 0,
            OwnerName = "",
            GroupName = "",
            Mode = setId ? entry.Mode & ~RawEntry.SetIdBits : entry.Mode,
            Records = kept,
        };
    }

    private static bool Count(ref int counter)
    {
        counter++;
        return true;
    }

    private List<string> Sentences()
    {
        var all = new (int Count, string What)[]
        {
            (_owners, "entries of other owners or groups are root's"),
            (_setIds, "of these have lost their set-id bits"),
            (_devices, "device nodes were left out"),
            (_attributes, "entries have lost attributes that are not users' own"),
        };
        return [.. all.Where(s => s.Count > 0).Select(s => $"{s.Count} {s.What}")];
    }

    private RawEntry Implied(string path) =>
        new()
        {
            Path = path,
            Type = RawEntry.Directory,
            Mode = 0x1ed,
            Modified = options.Time,
        };

    private RawEntry Entry(AddedFile file) =>
        new()
        {
            Path = file.Path,
            Type = file.Type,
            Mode = file.Mode,
            Modified = options.Time,
            Target = file.Type == RawEntry.SymbolicLink ? file.Content : "",
            Size = ContentOf(file).Length,
        };

    private static byte[] ContentOf(AddedFile file) =>
        file.Type == RawEntry.File ? System.Text.Encoding.UTF8.GetBytes(file.Content) : [];
}
