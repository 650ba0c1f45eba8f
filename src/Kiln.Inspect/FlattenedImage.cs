namespace Kiln.Inspect;

/// <summary>The files of an image once its layers lie on top of each other (image-spec, layer.md, "Whiteouts").</summary>
/// <remarks>
/// The uppermost layer is looked at first: what it has hides what is below, so that each entry of a layer is looked at once,
/// however many layers there are.
/// </remarks>
public sealed class FlattenedImage
{
    private const string WhiteoutPrefix = ".wh.";
    private const string OpaqueName = ".wh..wh..opq";
    private readonly Dictionary<string, LayerEntry> _entries;

    // Paths that a layer above has removed, and directories that it has emptied.
    private readonly HashSet<string> _gone = new(StringComparer.Ordinal);
    private readonly HashSet<string> _emptied = new(StringComparer.Ordinal);

    // The files that hard links of the image are names of.
    private readonly Dictionary<string, LayerEntry> _linked = new(StringComparer.Ordinal);

    // Of one layer, most of what there is in the image: growing there would leave as much behind again.
    private FlattenedImage(int entries) => _entries = new(entries, StringComparer.Ordinal);

    /// <summary>What is left, in no order.</summary>
    public IReadOnlyCollection<LayerEntry> Entries => _entries.Values;

    /// <param name="layers">Lowest first.</param>
    public static FlattenedImage Of(IEnumerable<LayerFacts> layers)
    {
        var upwards = layers.ToList();
        var image = new FlattenedImage(upwards.Count == 0 ? 0 : upwards.Max(l => l.Entries.Count));
        foreach (var layer in upwards.AsEnumerable().Reverse())
        {
            image.PutBelow(layer);
        }

        image.KeepLinked();
        return image;
    }

    /// <summary>The file that a hard link of the image is a name of; null where its layer has none.</summary>
    internal LayerEntry? FileOf(LayerEntry link) => _linked.GetValueOrDefault(link.Path);

    private void PutBelow(LayerFacts layer)
    {
        var links = new List<LayerEntry>();
        // Of two entries of one path the later one counts.
        for (var i = layer.Entries.Count - 1; i >= 0; i--)
        {
            var entry = layer.Entries[i];
            if (!IsWhiteout(entry.Path) && !IsHidden(entry.Path) && _entries.TryAdd(entry.Path, entry))
            {
                if (entry is { Kind: LayerEntryKind.HardLink, Target: not null })
                {
                    links.Add(entry);
                }
            }
        }

        Resolve(links, layer);
        // Whiteouts act on the layers below only, wherever in the archive they stand.
        foreach (var entry in layer.Entries)
        {
            var name = NameOf(entry.Path);
            var directory = entry.Path[..Math.Max(0, entry.Path.Length - name.Length - 1)];
            if (name.SequenceEqual(OpaqueName))
            {
                _emptied.Add(directory);
            }
            else if (name.StartsWith(WhiteoutPrefix, StringComparison.Ordinal))
            {
                var removed = name[WhiteoutPrefix.Length..];
                _gone.Add(directory.Length == 0 ? removed.ToString() : $"{directory}/{removed}");
            }
        }
    }

    private bool IsHidden(string path)
    {
        if (_gone.Contains(path) || _emptied.Contains(""))
        {
            return true;
        }

        var gone = _gone.GetAlternateLookup<ReadOnlySpan<char>>();
        var emptied = _emptied.GetAlternateLookup<ReadOnlySpan<char>>();
        var above = _entries.GetAlternateLookup<ReadOnlySpan<char>>();
        for (var slash = path.LastIndexOf('/'); slash > 0; slash = path.LastIndexOf('/', slash - 1))
        {
            var parent = path.AsSpan(0, slash);
            if (
                gone.Contains(parent)
                || emptied.Contains(parent)
                // What is no directory any more has nothing in it.
                || (above.TryGetValue(parent, out var there) && there.Kind != LayerEntryKind.Directory)
            )
            {
                return true;
            }
        }

        return false;
    }

    // A link is to a file of its own layer.
    private void Resolve(List<LayerEntry> links, LayerFacts layer)
    {
        if (links.Count == 0)
        {
            return;
        }

        var files = new Dictionary<string, LayerEntry>(StringComparer.Ordinal);
        foreach (var entry in layer.Entries)
        {
            if (entry.Kind is not (LayerEntryKind.HardLink or LayerEntryKind.Directory))
            {
                files[entry.Path] = entry;
            }
        }

        foreach (var link in links)
        {
            if (files.TryGetValue(link.Target!, out var file))
            {
                _linked[link.Path] = file;
            }
        }
    }

    // A file whose first name a layer above has taken away lives on under its others, with all that it is.
    private void KeepLinked()
    {
        var moved = new HashSet<LayerEntry>(ReferenceEqualityComparer.Instance);
        foreach (var (path, file) in _linked.OrderBy(l => l.Key, StringComparer.Ordinal))
        {
            if (!ReferenceEquals(_entries.GetValueOrDefault(file.Path), file) && moved.Add(file))
            {
                _entries[path] = file with { Path = path };
            }
        }
    }

    private static bool IsWhiteout(string path) => NameOf(path).StartsWith(WhiteoutPrefix, StringComparison.Ordinal);

    private static ReadOnlySpan<char> NameOf(string path) => path.AsSpan(path.LastIndexOf('/') + 1);
}
