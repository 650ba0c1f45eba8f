namespace Kiln.Inspect;

/// <summary>The files of an image once its layers lie on top of each other (image-spec, layer.md, "Whiteouts").</summary>
public sealed class FlattenedImage
{
    private const string WhiteoutPrefix = ".wh.";
    private const string OpaqueName = ".wh..wh..opq";
    private readonly Dictionary<string, LayerEntry> _entries = new(StringComparer.Ordinal);

    private FlattenedImage() { }

    /// <summary>What is left, in no order.</summary>
    public IReadOnlyCollection<LayerEntry> Entries => _entries.Values;

    /// <param name="layers">Lowest first.</param>
    public static FlattenedImage Of(IEnumerable<LayerFacts> layers)
    {
        var image = new FlattenedImage();
        foreach (var layer in layers)
        {
            image.Apply(layer);
        }

        return image;
    }

    private void Apply(LayerFacts layer)
    {
        // Whiteouts act on the layers below only, wherever in the archive they stand: first all of them, then the rest.
        var gone = new HashSet<string>(StringComparer.Ordinal);
        var emptied = new HashSet<string>(StringComparer.Ordinal);
        foreach (var entry in layer.Entries)
        {
            var (directory, name) = Split(entry.Path);
            if (name == OpaqueName)
            {
                emptied.Add(directory);
            }
            else if (name.StartsWith(WhiteoutPrefix, StringComparison.Ordinal))
            {
                gone.Add(Join(directory, name[WhiteoutPrefix.Length..]));
            }
            else if (
                entry.Kind != LayerEntryKind.Directory
                && _entries.TryGetValue(entry.Path, out var below)
                && below.Kind == LayerEntryKind.Directory
            )
            {
                gone.Add(entry.Path);
            }
        }

        Remove(gone, emptied);
        foreach (var entry in layer.Entries)
        {
            if (!Split(entry.Path).Name.StartsWith(WhiteoutPrefix, StringComparison.Ordinal))
            {
                _entries[entry.Path] = entry;
            }
        }
    }

    private void Remove(HashSet<string> gone, HashSet<string> emptied)
    {
        if (gone.Count == 0 && emptied.Count == 0)
        {
            return;
        }

        foreach (var path in _entries.Keys.Where(p => gone.Contains(p) || IsBelow(p, gone, emptied)).ToList())
        {
            _entries.Remove(path);
        }
    }

    private static bool IsBelow(string path, HashSet<string> gone, HashSet<string> emptied)
    {
        for (var slash = path.LastIndexOf('/'); slash > 0; slash = path.LastIndexOf('/', slash - 1))
        {
            var parent = path[..slash];
            if (gone.Contains(parent) || emptied.Contains(parent))
            {
                return true;
            }
        }

        return emptied.Contains("");
    }

    private static (string Directory, string Name) Split(string path)
    {
        var slash = path.LastIndexOf('/');
        return slash < 0 ? ("", path) : (path[..slash], path[(slash + 1)..]);
    }

    private static string Join(string directory, string name) => directory.Length == 0 ? name : $"{directory}/{name}";
}
