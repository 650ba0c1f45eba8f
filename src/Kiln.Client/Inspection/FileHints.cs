using Kiln.BuildSpec.Products;
using Kiln.Inspect;

namespace Kiln.Client.Inspection;

/// <summary>What is special about an image's files, and where most of them are.</summary>
internal static class FileHints
{
    private const int MaxDirectories = 20;
    private const long MaxDirectoryCharacters = 32 << 20;

    // A directory with nearly all in one below says nothing that the one below does not.
    private const double NearlyAll = 0.95;

    private const int SetId = 0xc00;
    private const int Sticky = 0x200;
    private const int OthersRead = 4;
    private const int OthersWrite = 2;

    /// <param name="entries">In the order of their paths.</param>
    public static HintedFiles Of(long bytes, long count, List<LayerEntry> entries) =>
        new(bytes, count)
        {
            SetId = Paths(entries, e => e.Kind == LayerEntryKind.File && (e.Mode & SetId) != 0),
            Capabilities = Paths(entries, e => e.Capability),
            Devices = Paths(entries, e => e.Kind == LayerEntryKind.Device),
            Unreadable = Paths(entries, e => IsFileOrDirectory(e) && (e.Mode & OthersRead) == 0),
            Writable = Paths(
                entries,
                e =>
                    IsFileOrDirectory(e)
                    && (e.Mode & OthersWrite) != 0
                    && (e.Kind == LayerEntryKind.File || (e.Mode & Sticky) == 0)
            ),
        };

    /// <summary>
    /// The largest directories, each with all that is below it; the largest first. None where their paths together are
    /// longer than those of any image that somebody would want to know this of.
    /// </summary>
    public static IReadOnlyList<HintedDirectory> Largest(List<LayerEntry> entries)
    {
        var sums = new Dictionary<string, (long Bytes, long Files)>(StringComparer.Ordinal);
        var byPart = sums.GetAlternateLookup<ReadOnlySpan<char>>();
        var characters = 0L;
        foreach (var entry in entries.Where(e => e.Kind is not LayerEntryKind.HardLink))
        {
            for (var slash = entry.Path.LastIndexOf('/'); slash > 0; slash = entry.Path.LastIndexOf('/', slash - 1))
            {
                var directory = entry.Path.AsSpan(0, slash);
                if (byPart.TryGetValue(directory, out var sum))
                {
                    byPart[directory] = (sum.Bytes + entry.Size, sum.Files + 1);
                }
                else if ((characters += slash) > MaxDirectoryCharacters)
                {
                    return [];
                }
                else
                {
                    byPart[directory] = (entry.Size, 1);
                }
            }
        }

        // Overflow needs more bytes than layers may have.
        var heaviest = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var (directory, (bytes, _)) in sums)
        {
            if (directory.LastIndexOf('/') is > 0 and var slash)
            {
                var parent = directory[..slash];
                heaviest[parent] = Math.Max(heaviest.GetValueOrDefault(parent), bytes);
            }
        }

        return
        [
            .. sums.Where(s => heaviest.GetValueOrDefault(s.Key) <= s.Value.Bytes * NearlyAll || s.Value.Bytes == 0)
                .OrderByDescending(s => s.Value.Bytes)
                .ThenBy(s => s.Key, StringComparer.Ordinal)
                .Take(MaxDirectories)
                .Select(s => new HintedDirectory(Shorten(s.Key), s.Value.Bytes, s.Value.Files)),
        ];
    }

    /// <summary>A path that is not too long for a document.</summary>
    public static string Shorten(string path) =>
        path.Length <= HintsDocument.MaxPathCharacters ? path : path[..(HintsDocument.MaxPathCharacters - 1)] + "…";

    /// <summary>Some files in their order; null where there are none.</summary>
    public static HintedUsers? Users(IEnumerable<LayerEntry> entries)
    {
        var all = entries.Select(e => e.Path).ToList();
        return all.Count == 0
            ? null
            : new HintedUsers(all.Count, [.. all.Take(HintsDocument.MaxPaths).Select(Shorten)]);
    }

    private static HintedPaths? Paths(List<LayerEntry> entries, Func<LayerEntry, bool> special)
    {
        var found = entries.FindAll(e => e.Kind != LayerEntryKind.HardLink && special(e));
        return found.Count == 0
            ? null
            : new HintedPaths(
                found.Count,
                [
                    .. found
                        .Take(HintsDocument.MaxPaths)
                        .Select(e => new HintedPath(
                            Shorten(e.Path),
                            Convert.ToString(e.Mode, 8).PadLeft(4, '0'),
                            e.Owner,
                            e.Group
                        )),
                ]
            );
    }

    private static bool IsFileOrDirectory(LayerEntry entry) =>
        entry.Kind is LayerEntryKind.File or LayerEntryKind.Directory;
}
