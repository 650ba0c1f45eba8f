using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>A watched registry, and how this node speaks to it.</summary>
internal sealed class WatchedPlace : IDisposable
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(30);
    private readonly TimeProvider _time;
    private readonly TimeSpan _patience;

    /// <exception cref="InvalidDataException">The file with its secret cannot be used.</exception>
    public WatchedPlace(WatchedRegistry registry, NotificationOptions options, TimeProvider time)
    {
        Registry = registry;
        Secret = registry.SecretFile is { } file ? SharedSecret.Read(file) : null;
        _time = time;
        _patience = options.Patience;
        Client = new RegistryClient(
            new RegistryClientOptions
            {
                InsecureRegistries = options.InsecureRegistries,
                Credentials = registry.Credentials,
                // Whoever waits here waits longer than one request; nobody else should have to meanwhile.
                Attempts = 2,
                Time = time,
            }
        );
    }

    public WatchedRegistry Registry { get; }
    public RegistryClient Client { get; }

    /// <summary>What it has to send; null where it need not.</summary>
    public SharedSecret? Secret { get; }

    public RemoteRepository Of(string repository) => new(Registry.Host, RepositoryName.Parse(repository));

    /// <summary>Does something there; a registry that is away is waited for.</summary>
    public async Task<T> PatientlyAsync<T>(Func<Task<T>> what, CancellationToken cancel)
    {
        var since = _time.GetTimestamp();
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            try
            {
                return await what();
            }
            catch (RegistryException e) when (IsAway(e) && _time.GetElapsedTime(since) < _patience)
            {
                await Task.Delay(pause, _time, cancel);
            }
        }
    }

    /// <summary>Whether a fault says that the registry may answer later.</summary>
    public static bool IsAway(RegistryException e) => e.Fault is RegistryFault.Unreachable or RegistryFault.Unavailable;

    public void Dispose() => Client.Dispose();
}
