using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Notifications;

/// <summary>
/// Building for registries that cannot: hears their notifications, looks for recipes, has them built by the node that asks
/// <see cref="Coordinator"/> for work, and pushes what comes of them.
/// </summary>
public sealed class NotificationWatch : IAsyncDisposable
{
    private readonly Dictionary<string, WatchedPlace> _places = new(StringComparer.Ordinal);
    private readonly NotificationListener _listener;
    private readonly List<PlaceWatch> _watches = [];

    /// <param name="options">What it was told.</param>
    /// <param name="node">The node that builds.</param>
    /// <param name="status">What that node can build.</param>
    /// <exception cref="InvalidDataException">A secret cannot be read.</exception>
    public NotificationWatch(
        NotificationOptions options,
        NodeOptions node,
        NodeStatus status,
        TimeProvider time,
        ILoggerFactory logs
    )
    {
        System.IO.Directory.CreateDirectory(
            options.Directory,
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        );
        var log = logs.CreateLogger<NotificationWatch>();
        var spool = new WishSpool(options, log);
        var builds = new WatchedBuilds(options, log);
        foreach (var registry in options.Registries)
        {
            var place = new WatchedPlace(registry, options, time);
            _places.Add(registry.Name, place);
            _watches.Add(
                new PlaceWatch(
                    place,
                    spool,
                    builds,
                    new RecipeLook(registry, place.Client, options, status, time),
                    new ProductDelivery(options, place, builds),
                    options,
                    status,
                    time,
                    log
                )
            );
        }

        // Of a registry that is not watched any more nothing can be built.
        builds.Forget(name => !_places.ContainsKey(name));
        _listener = new NotificationListener(options, _places, spool, builds, status, time, logs);
        var layers = new LayerShelf(options, new NodeDirectory(node.Directory).Bases);
        Coordinator = new WatchCoordinator(options, _places, builds, layers, time);
    }

    /// <summary>Where the node gets its work.</summary>
    public IBuildCoordinator Coordinator { get; }

    /// <summary>Where notifications are taken, once <see cref="StartAsync"/> is done.</summary>
    public System.Net.IPEndPoint Address => _listener.Address;

    /// <summary>Listens. What is taken is kept until <see cref="RunAsync"/>.</summary>
    /// <exception cref="IOException">The address cannot be listened on.</exception>
    public Task StartAsync(CancellationToken cancel) => _listener.StartAsync(cancel);

    /// <summary>Looks at what was notified and delivers what was built until <paramref name="cancel"/>.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        try
        {
            await Task.WhenAll(_watches.SelectMany(watch => watch.Loops(cancel)));
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            // What is left is in files.
        }

        await _listener.StopAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _listener.DisposeAsync();
        foreach (var place in _places.Values)
        {
            place.Dispose();
        }
    }
}
