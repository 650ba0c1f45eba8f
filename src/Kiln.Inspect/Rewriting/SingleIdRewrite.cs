namespace Kiln.Inspect.Rewriting;

/// <summary>What one layer had to change to be of a single id; numbers of entries.</summary>
public sealed record SingleIdChanges
{
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
/// Writes a layer anew so that whoever unpacks it needs no id but their own and gets no power from it: all entries are 0:0,
/// set-id bits, file capabilities and access control lists go, what its owner may not read becomes readable, and device
/// nodes are left out.
/// </summary>
public static class SingleIdRewrite
{
    private const int MaxPaths = 50;
    private const int ReadDirectory = 0x140;
    private const int ReadFile = 0x100;

    /// <param name="blob">The layer, compressed or not.</param>
    /// <param name="tar">Gets the plain tar.</param>
    /// <exception cref="InvalidDataException">The layer is damaged.</exception>
    /// <exception cref="OversizeException">There is more of it than is read.</exception>
    public static async Task<SingleIdChanges> WriteAsync(Stream blob, Stream tar, CancellationToken cancel)
    {
        var changes = new SingleIdChanges();
        await using var plain = await LayerStream.OpenAsync(blob, LayerFacts.MaxTarBytes, cancel);
        var reader = new RawTarReader(plain);
        var writer = new RawTarWriter(tar);
        var buffer = new byte[1 << 17];
        var devices = new HashSet<string>(StringComparer.Ordinal);
        while (await reader.NextAsync(cancel) is { } entry)
        {
            await writer.WriteAsync(Change(entry, changes, devices), cancel);
            for (int read; (read = await reader.ReadAsync(buffer, cancel)) > 0; )
            {
                await writer.ContentAsync(buffer.AsMemory(0, read), cancel);
            }
        }

        await writer.FinishAsync(cancel);
        return changes;
    }

    private static RawEntry Change(RawEntry entry, SingleIdChanges changes, HashSet<string> devices)
    {
        if (entry.IsDevice || (entry.Type == RawEntry.HardLink && devices.Contains(entry.Target.TrimStart('.', '/'))))
        {
            // What a lower layer may have at this path is hidden all the same.
            changes.Entries++;
            changes.Devices++;
            devices.Add(entry.Path);
            return Whiteout(entry);
        }

        var readable = entry.IsDirectory ? ReadDirectory : ReadFile;
        // A whiteout is nobody's file, whatever its mode.
        var hasMode =
            entry.Type is not (RawEntry.SymbolicLink or RawEntry.HardLink)
            && !entry.Name.StartsWith(".wh.", StringComparison.Ordinal);
        var owner = entry.Owner != 0 || entry.Group != 0;
        var setId = hasMode && (entry.Mode & RawEntry.SetIdBits) != 0;
        var mode = hasMode && (entry.Mode & readable) != readable;
        var capability = entry.Records.Any(r => RawAttributes.IsCapability(r.Key));
        var list = entry.Records.Any(r => RawAttributes.IsAccessList(r.Key));
        // A link's own header says of its file what that one's does.
        if (entry.Type != RawEntry.HardLink)
        {
            changes.Owners += owner ? 1 : 0;
            changes.SetIds += setId ? 1 : 0;
            changes.Modes += mode ? 1 : 0;
            changes.Capabilities += capability ? 1 : 0;
            changes.AccessLists += list ? 1 : 0;
            if (setId && !entry.IsDirectory && changes.SetIdFiles.Count < MaxPaths)
            {
                changes.SetIdFiles.Add(RawEntry.Show(entry.Path));
            }
        }

        changes.Entries += owner || setId || mode || capability || list ? 1 : 0;
        return entry with
        {
            Owner = 0,
            Group = 0,
            OwnerName = "",
            GroupName = "",
            Mode = (entry.Mode & ~RawEntry.SetIdBits) | (hasMode ? readable : 0),
            Records =
            [
                .. entry.Records.Where(r => !RawAttributes.IsCapability(r.Key) && !RawAttributes.IsAccessList(r.Key)),
            ],
        };
    }

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
