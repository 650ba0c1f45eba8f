namespace Kiln.Node.Fetching;

/// <summary>
/// Which base images stay on a node: the most recently used ones up to a number and an amount of bytes, and always those
/// that a build holds.
/// </summary>
/// <param name="directory">Holds one directory for each base.</param>
/// <param name="maxBases">Bases at most.</param>
/// <param name="maxBytes">Bytes of their blobs at most; unpacked they take about three times that.</param>
/// <param name="remove">Removes a directory with files of any owner; where it cannot, the next start tries again.</param>
internal sealed class BaseShelf(
    string directory,
    int maxBases,
    long maxBytes,
    Func<string, CancellationToken, Task> remove
)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _held = new(StringComparer.Ordinal);

    /// <summary>The directory of a base, which stays until <see cref="ReleaseAsync"/>.</summary>
    public string Hold(string name)
    {
        lock (_lock)
        {
            _held[name] = _held.GetValueOrDefault(name) + 1;
            var home = Directory.CreateDirectory(Path.Combine(directory, name)).FullName;
            Directory.SetLastWriteTimeUtc(home, TimeProvider.System.GetUtcNow().UtcDateTime);
            return home;
        }
    }

    /// <summary>Lets bases go, and removes what there is too much of.</summary>
    public async Task ReleaseAsync(IEnumerable<string> names)
    {
        List<string> doomed;
        lock (_lock)
        {
            foreach (var name in names)
            {
                if (--_held[name] == 0)
                {
                    _held.Remove(name);
                }
            }

            doomed = [.. TooMuch().Select(Doom)];
        }

        foreach (var gone in doomed)
        {
            await remove(gone, CancellationToken.None);
        }
    }

    /// <summary>What a killed node left: bases half unpacked, bases half removed.</summary>
    public IEnumerable<string> Leftovers() =>
        Directory
            .EnumerateDirectories(directory)
            .SelectMany(home => IsDoomed(home) ? [home] : Directory.EnumerateDirectories(home, "unpack-*"));

    private List<string> TooMuch()
    {
        var (count, bytes) = (0, 0L);
        var doomed = new List<string>();
        foreach (
            var home in Directory
                .EnumerateDirectories(directory)
                .Where(home => !IsDoomed(home))
                .OrderByDescending(Directory.GetLastWriteTimeUtc)
        )
        {
            count++;
            bytes += Size(Path.Combine(home, "layout"));
            if ((count > maxBases || bytes > maxBytes) && !_held.ContainsKey(Path.GetFileName(home)))
            {
                doomed.Add(home);
            }
        }

        return doomed;
    }

    private static long Size(string layout) =>
        Directory.Exists(layout)
            ? new DirectoryInfo(layout).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length)
            : 0;

    private static bool IsDoomed(string home) => Path.GetFileName(home).StartsWith("old-", StringComparison.Ordinal);

    // A rename first: it is gone for every later build at once, however long the removal takes.
    private static string Doom(string home)
    {
        var doomed = Path.Combine(Path.GetDirectoryName(home)!, "old-" + Guid.NewGuid().ToString("n"));
        Directory.Move(home, doomed);
        return doomed;
    }
}

/// <summary>The bases that one build uses.</summary>
internal sealed class BaseHold(BaseShelf shelf)
{
    private readonly List<string> _names = [];

    /// <summary>The directory of a base, which stays until <see cref="ReleaseAsync"/>.</summary>
    public string Take(string name)
    {
        var home = shelf.Hold(name);
        _names.Add(name);
        return home;
    }

    public async Task ReleaseAsync()
    {
        var names = _names.ToList();
        _names.Clear();
        await shelf.ReleaseAsync(names);
    }
}
