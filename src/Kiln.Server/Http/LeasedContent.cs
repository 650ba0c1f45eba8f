using Kiln.Oci;
using Kiln.Server.Access;
using Kiln.Server.Access.Guard;
using Kiln.Server.Builds.Leases;
using Kiln.Server.Registry;

namespace Kiln.Server.Http;

/// <summary>
/// The ordinary pulls and pushes as they are for a lease's credential: into the lease's staging area, and out of it; of
/// what is in repositories, what the build was given and what its requester may pull.
/// </summary>
internal sealed class LeasedContent(
    LeaseStaging staging,
    LeaseDesk desk,
    LeaseGate gate,
    Blobs blobs,
    Manifests manifests,
    Repositories repositories
)
{
    /// <summary>Where a push of this request goes; null where it goes into the repository.</summary>
    public BlobStaging? StagingOf(V2Context context) =>
        context.Caller.Lease is { } lease
            ? new BlobStaging(
                lease.Id,
                (transaction, digest, size) => staging.Record(transaction, lease.Id, digest, size)
            )
            : null;

    /// <summary>Whether what an upstream has may be fetched for the request: not for a lease whose requester may not pull it.</summary>
    public bool MayFetch(V2Context context) => context.Caller.Lease is not { } lease || MayRead(context, lease);

    /// <summary>
    /// The size of a blob that the request may read, which stays long enough to be referred to then; null where there is
    /// none.
    /// </summary>
    public ValueTask<long?> PromiseBlobAsync(V2Context context, Digest digest) =>
        context.Caller.Lease is not { } lease ? blobs.PromiseAsync(context.Repository, digest, context.Cancel)
        : IsOwn(context, lease) && staging.BlobSize(lease.Id, digest) is { } staged ? new(staged)
        : MayRead(context, lease) || (IsOwn(context, lease) && desk.IsInput(lease.Execution, digest))
            ? blobs.PromiseAsync(context.Repository, digest, context.Cancel)
        : new((long?)null);

    /// <summary>A manifest that a lease may read; null where there is none.</summary>
    /// <param name="tag">Null where <paramref name="digest"/> is given.</param>
    public StoredManifest? Manifest(V2Context context, LeaseHolder lease, Digest? digest, Tag? tag)
    {
        if (tag?.Value == lease.StagingTag)
        {
            digest = staging.Tagged(lease.Id);
            if (digest is null)
            {
                return null;
            }
        }

        if (digest is not null && IsOwn(context, lease) && staging.Manifest(lease.Id, digest) is var (type, content))
        {
            return new StoredManifest(digest, type, content.Length, content);
        }

        return !MayRead(context, lease) ? null
            : digest is not null ? manifests.Get(context.Repository, digest)
            : manifests.Get(context.Repository, tag!);
    }

    /// <summary>Takes a manifest of a lease, by digest or to its staging tag.</summary>
    /// <exception cref="OciException">It would move a tag, attach to something, or names blobs that are not there.</exception>
    public async Task<Digest> PutAsync(
        V2Context context,
        LeaseHolder lease,
        Digest? digest,
        Tag? tag,
        ReadOnlyMemory<byte> content,
        string? contentType
    )
    {
        if (context.Request.Query.ContainsKey("tag") || (tag is not null && tag.Value != lease.StagingTag))
        {
            throw new OciException(
                ErrorCodes.Denied,
                $"a lease moves no tag; push by digest, or to {lease.StagingTag}, which only this lease sees"
            );
        }

        if (
            ManifestReader.Read(content, contentType, out _) is { } info
            && repositories.Find(context.Repository) is { } repository
        )
        {
            var missing = info
                .Layers.Concat(info.Config is null ? [] : [info.Config])
                .FirstOrDefault(blob => !staging.HasBlob(lease.Id, repository, blob.Digest));
            if (missing is not null)
            {
                throw new OciException(
                    ErrorCodes.ManifestBlobUnknown,
                    $"the manifest refers to the blob {missing.Digest}, which is neither pushed nor in this repository; push it first"
                );
            }
        }

        var stored = await staging.PushManifestAsync(
            lease.Id,
            content,
            contentType,
            context.Cancel,
            digest,
            tagged: tag is not null
        );
        return stored.Digest;
    }

    /// <summary>Takes a blob over from another repository, or from this one, where the requester may pull it.</summary>
    /// <returns>False where it is not there, as far as the lease may know.</returns>
    public Task<bool> MountAsync(V2Context context, LeaseHolder lease, Digest digest, RepositoryName? from)
    {
        var source = from ?? context.Repository;
        return gate.MayPull(lease, source.Value) && blobs.Size(source, digest) is { } size
            ? staging.TakeAsync(lease.Id, digest, size, context.Cancel)
            : Task.FromResult(false);
    }

    private static bool IsOwn(V2Context context, LeaseHolder lease) => context.Repository.Value == lease.Repository;

    private bool MayRead(V2Context context, LeaseHolder lease) => gate.MayPull(lease, context.Repository.Value);
}
