using System.Formats.Tar;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Kiln.Oci;

namespace Kiln.Inspect;

/// <summary>
/// The tree digest of a build context: the same files packed twice, at other times or by other users, are the same
/// context (build-extension, "Caching and dedupe").
/// <para>
/// Canonical form, hashed with SHA-256: one record for each path, sorted by the path's UTF-8 bytes;
/// <c>TYPE SP MODE SP VALUE SP LENGTH ":" PATH LF</c> where TYPE is <c>d</c> (directory), <c>f</c> (regular file) or
/// <c>l</c> (symbolic link); MODE is the permission bits with set-id and sticky, four octal digits, <c>0777</c> for
/// links; VALUE is <c>-</c> for a directory, the lower-case hexadecimal SHA-256 of the content for a file, and
/// <c>LENGTH ":" TARGET</c> for a link; every LENGTH is decimal and counts UTF-8 bytes. Hard links count as the file they
/// link to. Directories that have no entry of their own count with mode 0755; the root has no record. Where a path comes
/// twice, the later entry counts; a non-directory takes the place of a directory with all below it. Times, owners and
/// extended attributes do not count.
/// </para>
/// </summary>
public sealed class ContextTree
{
    // Each path costs memory and comparisons, those of directories that have no entry too.
    private const long MaxPathCharacters = 64 << 20;

    // Each looks at all paths.
    private const int MaxReplacedDirectories = 100;

    private readonly SortedDictionary<string, Node> _nodes = new(Utf8Order.Instance);
    private long _characters;
    private int _replaced;

    private ContextTree() { }

    /// <summary>Bytes of all regular files.</summary>
    public long Bytes { get; private set; }

    public Digest Digest { get; private set; } = Digest.EmptyJson;

    /// <summary>Reads the context in <paramref name="blob"/> (a tar, plain or compressed).</summary>
    /// <param name="blob">The blob from its first byte.</param>
    /// <param name="strip">Leading path components to drop; entries with no more than that vanish.</param>
    /// <returns>The tree, or in the second place what is wrong with the archive.</returns>
    public static async Task<(ContextTree? Tree, TarFault? Fault)> ReadAsync(
        Stream blob,
        int strip,
        ContextLimits limits,
        CancellationToken cancel
    )
    {
        var tree = new ContextTree();
        try
        {
            // Headers and padding: up to 1 KiB for each entry and a pax header now and then.
            var maxTarBytes = limits.MaxBytes + (limits.MaxEntries * 4096L);
            await using var tar = await LayerStream.OpenAsync(blob, maxTarBytes, cancel);
            var fault = await TarWalk.ReadAsync(
                tar,
                limits.MaxEntries,
                (entry, path) => tree.AddAsync(entry, Strip(path, strip), strip, limits, cancel),
                cancel
            );
            if (fault is not null)
            {
                return (null, fault);
            }
        }
        catch (InvalidDataException e)
        {
            return (null, new TarFault(e.Message));
        }

        tree.Digest = tree.Hash();
        return (tree, null);
    }

    private async ValueTask<TarFault?> AddAsync(
        TarEntry entry,
        string path,
        int strip,
        ContextLimits limits,
        CancellationToken cancel
    )
    {
        if (path.Length == 0)
        {
            return null;
        }

        switch (entry.EntryType)
        {
            case TarEntryType.Directory or TarEntryType.DirectoryList:
                return Put(path, new Node('d', Mode(entry), "-"));
            case TarEntryType.RegularFile or TarEntryType.V7RegularFile or TarEntryType.ContiguousFile:
                Bytes += entry.Length;
                return Bytes > limits.MaxBytes
                    ? new TarFault($"the context has more than {limits.MaxBytes} bytes", TooLarge: true)
                    : Put(path, new Node('f', Mode(entry), await HashAsync(entry.DataStream, cancel)));
            case TarEntryType.SymbolicLink:
                var target = entry.LinkName;
                return Put(path, new Node('l', 0x1ff, $"{Encoding.UTF8.GetByteCount(target)}:{target}"));
            case TarEntryType.HardLink:
                return TarWalk.Clean(entry.LinkName, out var linked) is { } fault ? new TarFault(fault)
                    : _nodes.TryGetValue(Strip(linked, strip), out var file) && file.Type != 'd' ? Put(path, file)
                    : new TarFault(
                        $"the archive has a hard link to '{TarWalk.Shorten(entry.LinkName)}', which is not before it"
                    );
            default:
                return new TarFault(
                    $"a build context has files, directories and links only; '{TarWalk.Shorten(path)}' is a {entry.EntryType}"
                );
        }
    }

    private TarFault? Put(string path, Node node)
    {
        _characters += path.Length;
        // From below: where a directory is, all above it are.
        for (var slash = path.LastIndexOf('/'); slash > 0; slash = path.LastIndexOf('/', slash - 1))
        {
            var parent = path[..slash];
            if (_nodes.TryGetValue(parent, out var above))
            {
                if (above.Type != 'd')
                {
                    return new TarFault(
                        $"the archive puts '{TarWalk.Shorten(path)}' below something that is not a directory"
                    );
                }

                break;
            }

            _characters += parent.Length;
            if (_characters > MaxPathCharacters)
            {
                break;
            }

            _nodes[parent] = new Node('d', 0x1ed, "-");
        }

        if (_characters > MaxPathCharacters)
        {
            return new TarFault($"the context's paths have more than {MaxPathCharacters} characters", TooLarge: true);
        }

        if (node.Type != 'd' && _nodes.TryGetValue(path, out var before) && before.Type == 'd')
        {
            if (++_replaced > MaxReplacedDirectories)
            {
                return new TarFault($"the archive replaces more than {MaxReplacedDirectories} directories by files");
            }

            var below = path + "/";
            foreach (var gone in _nodes.Keys.Where(p => p.StartsWith(below, StringComparison.Ordinal)).ToList())
            {
                _nodes.Remove(gone);
            }
        }

        _nodes[path] = node;
        return null;
    }

    private Digest Hash()
    {
        using var hash = Digest.Start(Digest.Sha256);
        foreach (var (path, node) in _nodes)
        {
            var mode = Convert.ToString(node.Mode, 8).PadLeft(4, '0');
            var record = string.Create(
                CultureInfo.InvariantCulture,
                $"{node.Type} {mode} {node.Value} {Encoding.UTF8.GetByteCount(path)}:{path}\n"
            );
            hash.AppendData(Encoding.UTF8.GetBytes(record));
        }

        return Digest.Finish(Digest.Sha256, hash);
    }

    private static int Mode(TarEntry entry) => (int)entry.Mode & 0xfff;

    private static string Strip(string path, int components)
    {
        var start = 0;
        for (var i = 0; i < components; i++)
        {
            var slash = path.IndexOf('/', start);
            if (slash < 0)
            {
                return "";
            }

            start = slash + 1;
        }

        return path[start..];
    }

    private static async Task<string> HashAsync(Stream? content, CancellationToken cancel) =>
        Convert.ToHexStringLower(content is null ? SHA256.HashData([]) : await SHA256.HashDataAsync(content, cancel));

    private sealed record Node(char Type, int Mode, string Value);

    // The order of UTF-8 bytes is the order of code points; that of UTF-16 units differs above U+FFFF.
    private sealed class Utf8Order : IComparer<string>
    {
        public static readonly Utf8Order Instance = new();

        public int Compare(string? x, string? y)
        {
            var left = x!.EnumerateRunes();
            var right = y!.EnumerateRunes();
            while (true)
            {
                var more = left.MoveNext();
                if (!right.MoveNext())
                {
                    return more ? 1 : 0;
                }

                if (!more)
                {
                    return -1;
                }

                var order = left.Current.Value.CompareTo(right.Current.Value);
                if (order != 0)
                {
                    return order;
                }
            }
        }
    }
}

/// <summary>What a context may hold.</summary>
/// <param name="MaxBytes">Bytes of all its regular files.</param>
/// <param name="MaxEntries">Entries of the archive.</param>
public sealed record ContextLimits(long MaxBytes, int MaxEntries);
