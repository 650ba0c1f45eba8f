using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Leases;

/// <summary>The lease protocol for the node that runs inside this server: the same steps, without HTTP.</summary>
internal sealed class LocalCoordinator(
    LeaseDesk desk,
    LeaseResults results,
    LeaseStaging staging,
    LayerFactsStore layers,
    Database database,
    IBlobStore store
) : IBuildCoordinator
{
    public Task<Lease?> ClaimAsync(LeaseClaim claim, TimeSpan wait, CancellationToken cancel) =>
        desk.ClaimAsync(claim, new Claimant(claim.Node) { Local = true }, wait, cancel);

    public Task<LeaseHeartbeatReply> HeartbeatAsync(Lease lease, LeaseHeartbeat heartbeat, CancellationToken cancel) =>
        desk.HeartbeatAsync(Key(lease), heartbeat, cancel);

    public Task AppendLogAsync(Lease lease, ReadOnlyMemory<byte> text, CancellationToken cancel) =>
        desk.AppendLogAsync(Key(lease), null, text, cancel);

    public async Task<bool> CompleteAsync(Lease lease, LeaseResult result, CancellationToken cancel) =>
        (await results.CompleteAsync(Key(lease), result, cancel)).Published;

    public Task GiveBackAsync(Lease lease, CancellationToken cancel) => desk.GiveBackAsync(Key(lease), cancel);

    public async Task<Stream?> OpenBlobAsync(Lease lease, Digest digest, CancellationToken cancel) =>
        Sees(lease, digest) ? await store.OpenAsync(digest, 0, cancel) : null;

    public async Task<bool> HasBlobAsync(Lease lease, Digest digest, CancellationToken cancel)
    {
        var repository = database.Read(c => desk.Held(c, Key(lease))).Repository;
        var sees = await staging.PromiseBlobAsync(lease.Id, repository, digest, cancel);
        if (sees)
        {
            // A product will name it: have it read before the product is judged.
            layers.Warm(digest);
        }

        return sees;
    }

    public async Task<(Digest Digest, long Size)> PushBlobAsync(
        Lease lease,
        Func<Stream, CancellationToken, Task> write,
        CancellationToken cancel
    )
    {
        Check(lease);
        return await staging.PushBlobAsync(lease.Id, write, cancel);
    }

    public async Task<Descriptor> PushManifestAsync(
        Lease lease,
        ReadOnlyMemory<byte> manifest,
        string mediaType,
        CancellationToken cancel
    )
    {
        Check(lease);
        return await staging.PushManifestAsync(lease.Id, manifest, mediaType, cancel);
    }

    private bool Sees(Lease lease, Digest digest) =>
        staging.HasBlob(lease.Id, database.Read(c => desk.Held(c, Key(lease))).Repository, digest);

    private void Check(Lease lease) => database.Read(c => desk.Held(c, Key(lease)));

    private static LeaseId Key(Lease lease) => new(lease.Id, lease.Execution);
}
