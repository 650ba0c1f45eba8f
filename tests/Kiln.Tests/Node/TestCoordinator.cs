using System.Text;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;

namespace Kiln.Tests.Node;

/// <summary>A registry that only listens: to logs and heartbeats, and refuses them where the test says so.</summary>
internal sealed class TestCoordinator : IBuildCoordinator
{
    private int _heartbeats;

    public int Heartbeats => Volatile.Read(ref _heartbeats);
    public StringBuilder Log { get; } = new();
    public bool Canceled { get; set; }

    /// <summary>Thrown at every word; null where all is well.</summary>
    public Exception? Fault { get; set; }

    public Task<LeaseHeartbeatReply> HeartbeatAsync(Lease lease, LeaseHeartbeat heartbeat, CancellationToken cancel)
    {
        Interlocked.Increment(ref _heartbeats);
        return Fault is { } fault
            ? Task.FromException<LeaseHeartbeatReply>(fault)
            : Task.FromResult(new LeaseHeartbeatReply { Canceled = Canceled });
    }

    public Task AppendLogAsync(Lease lease, ReadOnlyMemory<byte> text, CancellationToken cancel)
    {
        if (Fault is { } fault)
        {
            return Task.FromException(fault);
        }

        lock (Log)
        {
            Log.Append(Encoding.UTF8.GetString(text.Span));
        }

        return Task.CompletedTask;
    }

    /// <summary>Answers claims, by how long they would wait.</summary>
    public Func<TimeSpan, Task<Lease?>>? Claims { get; set; }

    public Task<Lease?> ClaimAsync(LeaseClaim claim, TimeSpan wait, CancellationToken cancel) =>
        Claims is { } claims ? claims(wait).WaitAsync(cancel) : throw new NotSupportedException();

    /// <summary>The last result.</summary>
    public LeaseResult? Result { get; private set; }

    public Task<bool> CompleteAsync(Lease lease, LeaseResult result, CancellationToken cancel)
    {
        Result = result;
        return Task.FromResult(false);
    }

    public Task GiveBackAsync(Lease lease, CancellationToken cancel) => throw new NotSupportedException();

    // None is there.
    public Task<Stream?> OpenBlobAsync(Lease lease, Digest digest, CancellationToken cancel) =>
        Task.FromResult<Stream?>(null);

    public Task<bool> HasBlobAsync(Lease lease, Digest digest, CancellationToken cancel) =>
        throw new NotSupportedException();

    public Task<(Digest Digest, long Size)> PushBlobAsync(
        Lease lease,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    ) => throw new NotSupportedException();

    public Task<Descriptor> PushManifestAsync(
        Lease lease,
        ReadOnlyMemory<byte> manifest,
        string mediaType,
        CancellationToken cancel
    ) => throw new NotSupportedException();
}
