using Kiln.Oci;

namespace Kiln.Inspect.Rewriting;

/// <summary>What one layer had to change to be of a single id; numbers of entries.</summary>
public sealed record SingleIdChanges
{
    /// <summary>All that were changed, further names of a file among them.</summary>
    public long Entries { get; set; }
    public long Owners { get; set; }
    public long SetIds { get; set; }
    public long Capabilities { get; set; }
    public long AccessLists { get; set; }
    public long Modes { get; set; }
    public long Devices { get; set; }

    /// <summary>Of the files that lost set-id bits, the first ones.</summary>
    public List<string> SetIdFiles { get; } = [];
}

/// <summary>
/// Writes a layer anew so that whoever unpacks it gets no power from it: all entries are 0:0, set-id bits and file
/// capabilities go. Of a <em>whole</em> image, which anybody is to unpack with no id but their own, also access control
/// lists go, what its owner may not read becomes readable, and device nodes are left out.
/// </summary>
/// <remarks>
/// Entries are read and written, and never copied as bytes: two programs could take a header for two things, and what one
/// took for the content of a file another would unpack.
/// </remarks>
public sealed class SingleIdRewrite
{
    private const int MaxPaths = 50;
    private const int ReadDirectory = 0x140;
    private const int ReadFile = 0x100;

    private readonly bool _whole;
    private readonly SingleIdChanges _changes = new();
    private readonly Weight _weight = new();
    private readonly HashSet<string> _devices = new(StringComparer.Ordinal);

    // What was said of files already: their links' headers say it again.
    private readonly HashSet<string> _setIds = new(StringComparer.Ordinal);
    private readonly HashSet<string> _unreadable = new(StringComparer.Ordinal);

    private SingleIdRewrite(bool whole) => _whole = whole;

    /// <param name="blob">The layer, compressed or not.</param>
    /// <param name="tar">Gets the plain tar.</param>
    /// <param name="whole">Whether it is made for whoever has one id; else only its owners and what gives power go.</param>
    /// <exception cref="InvalidDataException">The layer is damaged.</exception>
    /// <exception cref="OversizeException">There is more of it than is read.</exception>
    public static async Task<SingleIdChanges> WriteAsync(Stream blob, Stream tar, bool whole, CancellationToken cancel)
    {
        var rewrite = new SingleIdRewrite(whole);
        await using var plain = await LayerStream.OpenAsync(blob, LayerFacts.MaxTarBytes, cancel);
        var reader = new RawTarReader(plain);
        var writer = new RawTarWriter(tar);
        var buffer = new byte[1 << 17];
        while (await reader.NextAsync(cancel) is { } entry)
        {
            await writer.WriteAsync(rewrite.Change(entry), cancel);
            for (int read; (read = await reader.ReadAsync(buffer, cancel)) > 0; )
            {
                await writer.ContentAsync(buffer.AsMemory(0, read), cancel);
            }
        }

        await writer.FinishAsync(cancel);
        return rewrite._changes;
    }

    /// <summary>The same, compressed; also tells the digest of the plain tar.</summary>
    /// <param name="layer">The layer, compressed or not; it is disposed.</param>
    /// <param name="to">Where it goes; it stays open.</param>
    /// <param name="zstd">Compressed with zstd, else with gzip.</param>
    /// <param name="whole">As above.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="InvalidDataException">The layer is damaged.</exception>
    /// <exception cref="OversizeException">There is more of it than is read.</exception>
    public static async Task<(SingleIdChanges Changes, Digest DiffId)> PackAsync(
        Stream layer,
        Stream to,
        bool zstd,
        bool whole,
        CancellationToken cancel
    )
    {
        await using var packed = LayerStream.Pack(to, zstd);
        await using var tar = new HashingStream(packed);
        return (await WriteAsync(layer, tar, whole, cancel), tar.Digest);
    }

    private RawEntry Change(RawEntry entry)
    {
        var target = entry.Type == RawEntry.HardLink ? TargetOf(entry) : null;
        if (_whole && (entry.IsDevice || (target is not null && _devices.Contains(target))))
        {
            // What a lower layer may have at this path is hidden all the same.
            _changes.Entries++;
            _changes.Devices++;
            Remember(_devices, entry.Path);
            return Whiteout(entry);
        }

        // Not even of a file that takes the place of one.
        _devices.Remove(entry.Path);
        // A link to a file has a mode: many who unpack set the file's by it. A whiteout is nobody's file, whatever its mode.
        var hasMode = entry.Type != RawEntry.SymbolicLink && !entry.Name.StartsWith(".wh.", StringComparison.Ordinal);
        var readable =
            !_whole || !hasMode ? 0
            : entry.IsDirectory ? ReadDirectory
            : ReadFile;
        var setId = hasMode && (entry.Mode & RawEntry.SetIdBits) != 0;
        var mode = (entry.Mode & readable) != readable;
        Count(entry, target, setId, mode);
        return entry with
        {
            Owner = 0,
            Group = 0,
            OwnerName = "",
            GroupName = "",
            Mode = (entry.Mode & ~RawEntry.SetIdBits) | readable,
            Records = [.. entry.Records.Where(r => !IsTaken(r.Key))],
        };
    }

    private void Count(RawEntry entry, string? target, bool setId, bool mode)
    {
        var owner = entry.Owner != 0 || entry.Group != 0;
        var capability = entry.Records.Any(r => RawAttributes.IsCapability(r.Key));
        var list = _whole && entry.Records.Any(r => RawAttributes.IsAccessList(r.Key));
        // A link's own header says of its file what that one's does.
        if (target is null)
        {
            _changes.Owners += owner ? 1 : 0;
            _changes.Capabilities += capability ? 1 : 0;
            _changes.AccessLists += list ? 1 : 0;
        }

        _changes.Modes += mode && IsNew(_unreadable, entry, target) ? 1 : 0;
        if (setId && IsNew(_setIds, entry, target))
        {
            _changes.SetIds++;
            if (!entry.IsDirectory && _changes.SetIdFiles.Count < MaxPaths)
            {
                _changes.SetIdFiles.Add(RawEntry.Show(entry.Path));
            }
        }

        _changes.Entries += owner || setId || mode || capability || list ? 1 : 0;
    }

    // Or it does not, and then the link is the first to say it.
    private bool IsNew(HashSet<string> said, RawEntry entry, string? target)
    {
        if (!entry.IsDirectory)
        {
            Remember(said, entry.Path);
        }

        return target is null || !said.Contains(target);
    }

    private void Remember(HashSet<string> paths, string path)
    {
        if (paths.Add(path))
        {
            _weight.Add(path.Length);
        }
    }

    private bool IsTaken(string record) =>
        RawAttributes.IsCapability(record) || (_whole && RawAttributes.IsAccessList(record));

    private static string TargetOf(RawEntry link) =>
        link.CleanTarget(out var target) is { } broken ? throw new InvalidDataException(broken) : target;

    // image-spec, layer.md, "Whiteouts": an empty file whose name says what is not there.
    private static RawEntry Whiteout(RawEntry entry) =>
        new()
        {
            Path = entry.Path[..(entry.Path.LastIndexOf('/') + 1)] + ".wh." + entry.Name,
            Type = RawEntry.File,
            Mode = 0x1a4,
            Modified = entry.Modified,
        };
}
