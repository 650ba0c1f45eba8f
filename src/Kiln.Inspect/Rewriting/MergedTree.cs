namespace Kiln.Inspect.Rewriting;

/// <summary>
/// What is at which path once layers lie on each other: whiteouts and opaque directories (image-spec, layer.md) take away
/// what lower layers have, parents that are symbolic links are followed within the tree, and hard links stay links to the
/// file that they were made of, whatever becomes of its own name. Add the entries of all layers, lowest first.
/// </summary>
internal sealed class MergedTree
{
    private const string Whiteout = ".wh.";
    private const string Opaque = ".wh..wh..opq";
    private const string Reserved = ".wh..wh.";

    // As many as Linux follows (path_resolution(7)).
    private const int MaxLinks = 40;
    private const int MaxDepth = 1000;

    private readonly Weight _weight = new();
    private readonly MergedNode _root = new("", null) { Inode = new MergedInode(-1, -1, RawEntry.Directory) };

    public int Count { get; private set; } = 1;

    /// <summary>Adds what a layer says of one path.</summary>
    /// <param name="layer">Counted from 0, the lowest.</param>
    /// <param name="index">Of the entry in its layer.</param>
    /// <exception cref="InvalidDataException">It is nothing that can be unpacked.</exception>
    /// <exception cref="OversizeException">There is too much, or it lies too deep.</exception>
    public void Add(int layer, int index, RawEntry entry)
    {
        if (entry.IsDirectory)
        {
            // All of it is kept.
            _weight.Add(entry.Path.Length);
            _weight.Add(entry.Records);
        }

        if (entry.Path.Length == 0)
        {
            if (entry.IsDirectory)
            {
                _root.Inode = new MergedInode(layer, index, RawEntry.Directory) { Entry = entry };
            }

            return;
        }

        var slash = entry.Path.LastIndexOf('/');
        var folder = slash < 0 ? "" : entry.Path[..slash];
        if (entry.Name.StartsWith(Whiteout, StringComparison.Ordinal))
        {
            TakeAway(layer, Find(folder), entry.Name);
            return;
        }

        if (entry.Type == RawEntry.HardLink)
        {
            Link(layer, folder, entry);
            return;
        }

        var parent = Make(folder, layer);
        if (entry.IsDirectory && parent.Child(entry.Name) is { Inode.IsDirectory: true } there)
        {
            (there.Layer, there.Inode) = (layer, new MergedInode(layer, index, RawEntry.Directory) { Entry = entry });
            return;
        }

        if (entry.Type == RawEntry.SymbolicLink)
        {
            if (entry.Target.Length > TarWalk.MaxPathBytes)
            {
                throw new InvalidDataException(
                    $"'{RawEntry.Show(entry.Path)}' is a link to a path that is longer than can be"
                );
            }

            _weight.Add(entry.Target.Length);
        }

        Put(parent, entry.Name, layer).Inode = new MergedInode(layer, index, entry.Type)
        {
            // Directories are written before all else, and links have to be followed.
            Entry = entry.IsDirectory ? entry : null,
            Target = entry.Type == RawEntry.SymbolicLink ? entry.Target : null,
        };
    }

    /// <summary>Whether there is something at a path: its parents are followed where they are links, as in <see cref="Add"/>, and it itself is not.</summary>
    public bool Has(string path)
    {
        try
        {
            return Entry(path) is not null;
        }
        catch (InvalidDataException)
        {
            // Parents that lead in a circle lead nowhere.
            return false;
        }
    }

    /// <summary>All directories, each after the one that it is in, and by name.</summary>
    public IEnumerable<(string Path, RawEntry? Entry)> Directories() =>
        Walk().Where(n => n.Node.Inode.IsDirectory).Select(n => (n.Path, n.Node.Inode.Entry));

    /// <summary>Everything else, by the layer and the entry that it comes from; an inode with all of its names, the first one first.</summary>
    public Dictionary<(int Layer, int Index), MergedInode> Inodes()
    {
        var found = new Dictionary<(int, int), MergedInode>();
        foreach (var (path, node) in Walk())
        {
            if (!node.Inode.IsDirectory)
            {
                node.Inode.Paths.Add(path);
                found[(node.Inode.Layer, node.Inode.Index)] = node.Inode;
            }
        }

        return found;
    }

    private IEnumerable<(string Path, MergedNode Node)> Walk()
    {
        var open = new Stack<(string Path, MergedNode Node)>();
        open.Push(("", _root));
        while (open.TryPop(out var next))
        {
            yield return next;
            foreach (var child in next.Node.Children.OrderByDescending(c => c.Name, StringComparer.Ordinal))
            {
                open.Push((next.Path.Length == 0 ? child.Name : $"{next.Path}/{child.Name}", child));
            }
        }
    }

    private static void TakeAway(int layer, MergedNode? folder, string name)
    {
        if (folder is null || !folder.Inode.IsDirectory)
        {
            return;
        }

        if (name == Opaque)
        {
            folder.Children.ToList().ForEach(child => Prune(child, layer));
        }
        else if (
            !name.StartsWith(Reserved, StringComparison.Ordinal) && folder.Child(name[Whiteout.Length..]) is { } gone
        )
        {
            Prune(gone, layer);
        }
    }

    // "Whiteout files MUST only apply to resources in lower/parent layers": what this layer has itself stays, in whichever
    // order it has them.
    private static bool Prune(MergedNode node, int layer)
    {
        var stays = node.Layer == layer;
        foreach (var child in node.Children.ToList())
        {
            stays |= Prune(child, layer);
        }

        if (!stays)
        {
            node.Remove();
        }
        else if (node.Layer != layer)
        {
            node.Inode = new MergedInode(-1, -1, RawEntry.Directory);
        }

        return stays;
    }

    private void Link(int layer, string folder, RawEntry entry)
    {
        if (entry.CleanTarget(out var target) is { } broken)
        {
            throw new InvalidDataException(broken);
        }

        var file = Entry(target);
        if (file is null || file.Inode.IsDirectory)
        {
            throw new InvalidDataException(
                $"'{RawEntry.Show(entry.Path)}' is a hard link to '{RawEntry.Show(entry.Target)}', where no file is"
            );
        }

        var inode = file.Inode;
        var parent = Make(folder, layer);
        if (parent.Child(entry.Name)?.Inode != inode)
        {
            Put(parent, entry.Name, layer).Inode = inode;
        }
    }

    private MergedNode Put(MergedNode parent, string name, int layer)
    {
        if (parent.Depth >= MaxDepth || parent.PathLength + name.Length >= TarWalk.MaxPathBytes)
        {
            throw new OversizeException(
                $"the image has more than {MaxDepth} directories in each other, or longer paths than can be"
            );
        }

        // Where links lead, a short path can be a long one; each name has its path in the end.
        _weight.Add(parent.PathLength + (2L * name.Length));
        parent.Child(name)?.Remove();
        Count++;
        return parent.Add(name, layer);
    }

    private MergedNode? Entry(string path)
    {
        var slash = path.LastIndexOf('/');
        return Find(slash < 0 ? "" : path[..slash])?.Child(path[(slash + 1)..]);
    }

    private MergedNode? Find(string path) => Walk(path, layer: null);

    // Directories that no entry speaks of are made, as those who unpack do.
    private MergedNode Make(string path, int layer) => Walk(path, layer)!;

    private MergedNode? Walk(string path, int? layer)
    {
        var parts = new Stack<string>(path.Split('/', StringSplitOptions.RemoveEmptyEntries).Reverse());
        var node = _root;
        for (var (links, depth) = (0, 0); parts.TryPop(out var part); depth++)
        {
            if (part is "." or "..")
            {
                node = part == ".." ? node.Parent ?? node : node;
                continue;
            }

            var child = node.Child(part);
            if (child?.Inode.Target is { } target)
            {
                if (++links > MaxLinks)
                {
                    throw new InvalidDataException($"the path '{RawEntry.Show(path)}' leads in a circle");
                }

                node = target.StartsWith('/') ? _root : node;
                foreach (var step in target.Split('/', StringSplitOptions.RemoveEmptyEntries).Reverse())
                {
                    parts.Push(step);
                }
            }
            else if (child?.Inode.IsDirectory is true)
            {
                node = child;
            }
            else if (layer is null)
            {
                return null;
            }
            else
            {
                node = Put(node, part, layer.Value);
                node.Inode = new MergedInode(-1, -1, RawEntry.Directory);
            }

            if (depth > MaxDepth * MaxLinks)
            {
                throw new InvalidDataException("a path has more directories than can be");
            }
        }

        return node;
    }
}

/// <summary>A name in the tree.</summary>
internal sealed class MergedNode(string name, MergedNode? parent)
{
    private Dictionary<string, MergedNode>? _children;

    public string Name { get; } = name;
    public MergedNode? Parent { get; } = parent;

    /// <summary>How many directories it lies in.</summary>
    public int Depth { get; } = parent is null ? 0 : parent.Depth + 1;

    /// <summary>Characters of its path.</summary>
    public int PathLength { get; } = parent is null ? 0 : parent.PathLength + name.Length + 1;

    /// <summary>The last layer that spoke of it; -1 for what was there before all.</summary>
    public int Layer { get; set; } = -1;
    public required MergedInode Inode { get; set; }

    public IEnumerable<MergedNode> Children => _children?.Values ?? Enumerable.Empty<MergedNode>();

    public MergedNode? Child(string name) => _children?.GetValueOrDefault(name);

    public MergedNode Add(string name, int layer)
    {
        _children ??= new Dictionary<string, MergedNode>(StringComparer.Ordinal);
        return _children[name] = new MergedNode(name, this) { Layer = layer, Inode = MergedInode.Nothing };
    }

    public void Remove() => Parent?._children?.Remove(Name);
}

/// <summary>What a name stands for: one entry of one layer.</summary>
internal sealed class MergedInode(int layer, int index, char type)
{
    public static readonly MergedInode Nothing = new(-1, -1, RawEntry.File);

    /// <summary>-1 for a directory that no entry speaks of.</summary>
    public int Layer { get; } = layer;
    public int Index { get; } = index;
    public char Type { get; } = type;

    public bool IsDirectory => Type == RawEntry.Directory;

    /// <summary>Of a directory.</summary>
    public RawEntry? Entry { get; init; }

    /// <summary>Of a symbolic link.</summary>
    public string? Target { get; init; }

    /// <summary>Its names, once the tree is whole.</summary>
    public List<string> Paths { get; } = [];
}
