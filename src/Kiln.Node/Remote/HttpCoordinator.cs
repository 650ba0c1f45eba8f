using System.Collections.Concurrent;
using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Builds;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Node.Remote;

/// <summary>A registry somewhere else, and who the node is to it.</summary>
public sealed record RemoteServer
{
    /// <summary><c>host[:port]</c>.</summary>
    public required string Host { get; init; }

    /// <summary>The node's own credential, with which it claims; null where the registry knows no users.</summary>
    public PresetLogin? Login { get; init; }
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>Where blobs wait on their way; emptied at the start.</summary>
    public required string Spool { get; init; }
}

/// <summary>
/// The lease protocol over HTTP. The node only dials out. A registry that is away for a while is waited for, since its
/// downtime ends no lease; whether a lease is alive, only the registry knows.
/// </summary>
public sealed class HttpCoordinator : IBuildCoordinator, IDisposable
{
    /// <summary>How long a registry that does not answer is waited for.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromHours(1);

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);

    private readonly RemoteServer _server;
    private readonly TimeProvider _time;
    private readonly RegistryClient _node;
    private readonly ConcurrentDictionary<string, LeaseSession> _sessions = new(StringComparer.Ordinal);
    private readonly ConcurrentBag<string> _keys = [];

    public HttpCoordinator(RemoteServer server, TimeProvider time)
    {
        _server = server;
        _time = time;
        _node = new RegistryClient(
            new RegistryClientOptions
            {
                InsecureRegistries = server.InsecureRegistries,
                Preset = server.Login,
                Attempts = 1,
                Time = time,
            }
        );
        if (Directory.Exists(server.Spool))
        {
            Directory.Delete(server.Spool, recursive: true);
        }

        Directory.CreateDirectory(
            server.Spool,
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        );
    }

    public async Task<Lease?> ClaimAsync(LeaseClaim claim, TimeSpan wait, CancellationToken cancel)
    {
        // A claim whose answer was lost is asked again under its key: the registry may have given a lease.
        var key = _keys.TryTake(out var unanswered) ? unanswered : Guid.NewGuid().ToString("n");
        try
        {
            return await new LeaseClient(_node).ClaimAsync(_server.Host, claim, wait, key, cancel);
        }
        catch (RegistryException e) when (e.Fault is RegistryFault.Unreachable or RegistryFault.Unavailable)
        {
            _keys.Add(key);
            throw;
        }
    }

    public async Task<LeaseHeartbeatReply> HeartbeatAsync(
        Lease lease,
        LeaseHeartbeat heartbeat,
        CancellationToken cancel
    ) =>
        await UnlessLostAsync(lease, () => Session(lease).Words.HeartbeatAsync(_server.Host, lease, heartbeat, cancel));

    public Task AppendLogAsync(Lease lease, ReadOnlyMemory<byte> text, CancellationToken cancel) =>
        UnlessLostAsync(
            lease,
            async () =>
            {
                await Session(lease).AppendAsync(_server.Host, lease, text, cancel);
                return true;
            }
        );

    public async Task<bool> CompleteAsync(Lease lease, LeaseResult result, CancellationToken cancel)
    {
        try
        {
            var reply = await PatientlyAsync(
                lease,
                () => Session(lease).Words.CompleteAsync(_server.Host, lease, result, cancel),
                cancel
            );
            Forget(lease);
            return reply.Published;
        }
        catch (RegistryException e) when (e.Code == BuildErrors.ResultInvalid.Code)
        {
            Forget(lease);
            return false;
        }
    }

    public Task GiveBackAsync(Lease lease, CancellationToken cancel) =>
        UnlessLostAsync(
            lease,
            async () =>
            {
                await Session(lease).Words.GiveBackAsync(_server.Host, lease, cancel);
                Forget(lease);
                return true;
            }
        );

    public Task<Stream?> OpenBlobAsync(Lease lease, Digest digest, CancellationToken cancel) =>
        PatientlyAsync(
            lease,
            async () =>
            {
                var content = Session(lease).Content;
                if (await content.FindBlobAsync(Where(lease), digest, cancel) is not { } size)
                {
                    return null;
                }

                var path = NewFile();
                var blob = new Descriptor
                {
                    MediaType = MediaTypes.OctetStream,
                    Digest = digest,
                    Size = size,
                };
                await content.DownloadBlobAsync(Where(lease), blob, path, cancel);
                return (Stream?)
                    new FileStream(
                        path,
                        FileMode.Open,
                        FileAccess.Read,
                        FileShare.Read,
                        1 << 16,
                        FileOptions.DeleteOnClose | FileOptions.Asynchronous
                    );
            },
            cancel
        );

    public Task<bool> HasBlobAsync(Lease lease, Digest digest, CancellationToken cancel) =>
        PatientlyAsync(
            lease,
            async () => await Session(lease).Content.FindBlobAsync(Where(lease), digest, cancel) is not null,
            cancel
        );

    public async Task<(Digest Digest, long Size)> PushBlobAsync(
        Lease lease,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    )
    {
        // What it is called is known only when it is whole; and a push that breaks is begun again.
        var path = NewFile();
        try
        {
            var blob = await SpooledBlob.WriteAsync(path, write, cancel);
            await PatientlyAsync(
                lease,
                () => Session(lease).Content.PushBlobAsync(Where(lease), blob, () => File.OpenRead(path), cancel),
                cancel
            );
            return (blob.Digest, blob.Size);
        }
        finally
        {
            File.Delete(path);
        }
    }

    public async Task<Descriptor> PushManifestAsync(
        Lease lease,
        ReadOnlyMemory<byte> manifest,
        string mediaType,
        CancellationToken cancel
    )
    {
        var reference = new Reference(Where(lease).Host, Where(lease).Name, null, Digest.Of(manifest.Span));
        var pushed = await PatientlyAsync(
            lease,
            () => Session(lease).Content.PushManifestAsync(reference, mediaType, manifest, cancel),
            cancel
        );
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = pushed.Digest,
            Size = manifest.Length,
        };
    }

    public void Dispose()
    {
        _node.Dispose();
        foreach (var session in _sessions.Values)
        {
            session.Dispose();
        }
    }

    private string NewFile() => Path.Combine(_server.Spool, Guid.NewGuid().ToString("n"));

    private RemoteRepository Where(Lease lease) => new(_server.Host, RepositoryName.Parse(lease.Repository));

    private LeaseSession Session(Lease lease) =>
        _sessions.GetOrAdd(
            lease.Id,
            _ => new LeaseSession(
                new RegistryClientOptions
                {
                    InsecureRegistries = _server.InsecureRegistries,
                    Preset = new PresetLogin(
                        _server.Host,
                        "Bearer",
                        lease.Auth?.Token ?? throw new InvalidDataException("the lease came without a credential")
                    ),
                    Attempts = 2,
                    Time = _time,
                }
            )
        );

    private void Forget(Lease lease)
    {
        if (_sessions.TryRemove(lease.Id, out var session))
        {
            session.Dispose();
        }
    }

    private async Task<T> PatientlyAsync<T>(Lease lease, Func<Task<T>> what, CancellationToken cancel)
    {
        var since = _time.GetTimestamp();
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            try
            {
                return await UnlessLostAsync(lease, what);
            }
            catch (RegistryException e)
                when (e.Fault is RegistryFault.Unreachable or RegistryFault.Unavailable
                    && _time.GetElapsedTime(since) < Patience
                )
            {
                await Task.Delay(pause, _time, cancel);
            }
        }
    }

    // 409 and 410 say that the lease is over, and so does a credential that counts no more.
    private async Task<T> UnlessLostAsync<T>(Lease lease, Func<Task<T>> what)
    {
        try
        {
            return await what();
        }
        catch (RegistryException e) when (e.Code == BuildErrors.LeaseLost.Code || e.Status == 401)
        {
            Forget(lease);
            throw new LeaseLostException(e.Message);
        }
    }
}
