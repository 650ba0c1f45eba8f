using System.Globalization;
using System.Text.Json;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Steps of earlier builds, one cache for each scope (repository). A successful build's whole store becomes a
/// <em>generation</em>; later builds of the scope see all generations as read-only stores. What a generation holds was
/// written by a build, so no other scope ever sees it.
/// <code>
/// steps/SCOPE/7/store/        a containers/storage root
/// steps/SCOPE/7/layers.json   diff ID → the layer that was handed over for it
/// </code>
/// </summary>
internal sealed class StepCache(string directory, Jail jail)
{
    /// <summary>Each is one more store for buildah to look into; past it those go on which no other stands.</summary>
    private const int MaxGenerations = 8;

    /// <summary>Scopes kept on a node; the least recently used one goes first.</summary>
    private const int MaxScopes = 64;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _inUse = new(StringComparer.Ordinal);

    /// <summary>What a build of <paramref name="scope"/> may use; dispose it when the build is over.</summary>
    public StepCacheUse Use(string scope, bool enabled)
    {
        lock (_lock)
        {
            _inUse[scope] = _inUse.GetValueOrDefault(scope) + 1;
        }

        var stores = new List<string>();
        var layers = new Dictionary<string, PublishedLayer>(StringComparer.Ordinal);
        // Newer generations stand on older ones: after a broken one, only what is older is whole.
        foreach (var generation in enabled ? Generations(scope) : [])
        {
            stores.Add(Path.Combine(generation, "store"));
            if (ReadLayers(Path.Combine(generation, "layers.json")) is not { } made)
            {
                stores.Clear();
                layers.Clear();
                continue;
            }

            foreach (var (diffId, layer) in made)
            {
                layers.TryAdd(diffId, layer);
            }
        }

        return new StepCacheUse(stores, layers, () => Release(scope));
    }

    // Null where a power cut left it without its bytes.
    private static Dictionary<string, PublishedLayer>? ReadLayers(string file)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(file), NodeJson.Default.DictionaryStringPublishedLayer);
        }
        catch (Exception e) when (e is IOException or JsonException)
        {
            return null;
        }
    }

    /// <summary>Makes a finished build's store the newest generation of its scope.</summary>
    /// <param name="scope">The repository.</param>
    /// <param name="store">The store; it is moved. Must be a directory, not a link.</param>
    /// <param name="layers">What the build's new layers were handed over as, by diff ID.</param>
    public async Task AddAsync(
        string scope,
        string store,
        IReadOnlyDictionary<string, PublishedLayer> layers,
        CancellationToken cancel
    )
    {
        var home = Path.Combine(directory, scope);
        Directory.CreateDirectory(home);
        var staging = Path.Combine(home, "new-" + Guid.NewGuid().ToString("n"));
        Directory.CreateDirectory(staging);
        Directory.Move(store, Path.Combine(staging, "store"));
        await File.WriteAllBytesAsync(
            Path.Combine(staging, "layers.json"),
            JsonSerializer.SerializeToUtf8Bytes(
                new Dictionary<string, PublishedLayer>(layers),
                NodeJson.Default.DictionaryStringPublishedLayer
            ),
            cancel
        );
        lock (_lock)
        {
            var next = Numbers(scope).DefaultIfEmpty(0).Max() + 1;
            Directory.Move(staging, Path.Combine(home, next.ToString(CultureInfo.InvariantCulture)));
        }

        await TrimAsync(scope, cancel);
    }

    /// <summary>Forgets the steps of a scope, unless another build of it is under way.</summary>
    public async Task DropAsync(string scope, CancellationToken cancel)
    {
        List<string> doomed;
        lock (_lock)
        {
            doomed = _inUse.GetValueOrDefault(scope) == 0 ? [.. Generations(scope).Select(Doom)] : [];
        }

        foreach (var generation in doomed)
        {
            await jail.RemoveAsync(generation, cancel);
        }
    }

    /// <summary>What a killed node left half done.</summary>
    public IEnumerable<string> Leftovers() =>
        Directory.EnumerateDirectories(directory).SelectMany(scope => Directory.EnumerateDirectories(scope, "*-*"));

    private void Release(string scope)
    {
        lock (_lock)
        {
            if (--_inUse[scope] == 0)
            {
                _inUse.Remove(scope);
            }

            Directory.SetLastWriteTimeUtc(Scope(scope), TimeProvider.System.GetUtcNow().UtcDateTime);
        }
    }

    private string Scope(string scope) => Directory.CreateDirectory(Path.Combine(directory, scope)).FullName;

    // Newest first: storage asks the stores in this order.
    private string[] Generations(string scope) =>
        [
            .. Numbers(scope)
                .OrderDescending()
                .Select(n => Path.Combine(directory, scope, n.ToString(CultureInfo.InvariantCulture))),
        ];

    private List<int> Numbers(string scope) =>
        Directory.Exists(Path.Combine(directory, scope))
            ?
            [
                .. Directory
                    .EnumerateDirectories(Path.Combine(directory, scope))
                    .Select(d => int.TryParse(Path.GetFileName(d), CultureInfo.InvariantCulture, out var n) ? n : 0)
                    .Where(n => n > 0),
            ]
            : [];

    private async Task TrimAsync(string scope, CancellationToken cancel)
    {
        var doomed = new List<string>();
        lock (_lock)
        {
            if (_inUse.GetValueOrDefault(scope) == 0)
            {
                doomed.AddRange(Buildah.Generations.Superfluous(Generations(scope), MaxGenerations).Select(Doom));
            }

            var idle = Directory
                .EnumerateDirectories(directory)
                .Where(d => _inUse.GetValueOrDefault(Path.GetFileName(d)) == 0)
                .OrderByDescending(Directory.GetLastWriteTimeUtc)
                .Skip(MaxScopes)
                .ToList();
            doomed.AddRange(idle.SelectMany(d => Directory.EnumerateDirectories(d)).Select(Doom));
        }

        foreach (var generation in doomed)
        {
            await jail.RemoveAsync(generation, cancel);
        }
    }

    // A rename first: the generation is gone for every later build at once, however long the removal takes.
    private static string Doom(string generation)
    {
        var doomed = Path.Combine(Path.GetDirectoryName(generation)!, "old-" + Guid.NewGuid().ToString("n"));
        Directory.Move(generation, doomed);
        return doomed;
    }
}

/// <summary>The read-only stores of a scope, newest first, and the blobs of the layers in them.</summary>
internal sealed class StepCacheUse(
    IReadOnlyList<string> stores,
    IReadOnlyDictionary<string, PublishedLayer> layers,
    Action release
) : IDisposable
{
    public IReadOnlyList<string> Stores { get; } = stores;
    public IReadOnlyDictionary<string, PublishedLayer> Layers { get; } = layers;

    public void Dispose() => release();
}
