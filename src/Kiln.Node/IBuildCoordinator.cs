using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Node;

/// <summary>
/// The lease protocol as a node sees it. Implemented by the registry that the node runs in, and over HTTP by one far
/// away. Calls under a lost lease throw <see cref="LeaseLostException"/>.
/// </summary>
public interface IBuildCoordinator
{
    /// <summary>Waits up to <paramref name="wait"/> for work; null where there was none.</summary>
    Task<Lease?> ClaimAsync(LeaseClaim claim, TimeSpan wait, CancellationToken cancel);

    Task<LeaseHeartbeatReply> HeartbeatAsync(Lease lease, LeaseHeartbeat heartbeat, CancellationToken cancel);

    /// <summary>Appends to the execution's log; past the limit bytes are dropped and the log says so once.</summary>
    Task AppendLogAsync(Lease lease, ReadOnlyMemory<byte> text, CancellationToken cancel);

    /// <summary>Ends the lease with a result. Safe to repeat.</summary>
    /// <returns>Whether the registry took a product and published it.</returns>
    Task<bool> CompleteAsync(Lease lease, LeaseResult result, CancellationToken cancel);

    /// <summary>Puts the execution back into the queue without using up an attempt.</summary>
    Task GiveBackAsync(Lease lease, CancellationToken cancel);

    /// <summary>Opens a blob of the lease's repository (recipe, context); null where it is not there.</summary>
    Task<Stream?> OpenBlobAsync(Lease lease, Digest digest, CancellationToken cancel);

    /// <summary>
    /// Whether the product may name this blob without pushing it: it is visible in the repository or in the staging area.
    /// </summary>
    Task<bool> HasBlobAsync(Lease lease, Digest digest, CancellationToken cancel);

    /// <summary>
    /// Pushes a blob into the lease's staging area. <paramref name="write"/> writes its bytes once, in order; the registry
    /// hashes while they come.
    /// </summary>
    Task<(Digest Digest, long Size)> PushBlobAsync(
        Lease lease,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    );

    /// <summary>Pushes a manifest by digest into the lease's staging area.</summary>
    Task<Descriptor> PushManifestAsync(
        Lease lease,
        ReadOnlyMemory<byte> manifest,
        string mediaType,
        CancellationToken cancel
    );
}

/// <summary>The lease has expired or was taken away: stop, and say nothing more under it.</summary>
public sealed class LeaseLostException(string message) : Exception(message);
