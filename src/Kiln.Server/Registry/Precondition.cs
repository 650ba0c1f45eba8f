using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>
/// What a client says must be so for its push or delete to happen (RFC 9110, 13.1): the entity tags of which the manifest
/// must have one, and those of which it must have none. It is looked at inside the transaction, so that of two clients
/// that move a tag from the same state one succeeds.
/// </summary>
/// <param name="Match"><c>If-Match</c>; null where there is none.</param>
/// <param name="NoneMatch"><c>If-None-Match</c>; null where there is none.</param>
internal sealed record Precondition(EntityTags? Match, EntityTags? NoneMatch)
{
    /// <summary>Checks it against the manifest that a digest names.</summary>
    /// <exception cref="OciException"><c>PRECONDITION_FAILED</c>, 412.</exception>
    public void Check(DbTransaction transaction, long repository, Digest digest) =>
        Check(Manifests.Exists(transaction, repository, digest) ? digest.ToString() : null);

    /// <summary>Checks it against the manifest that a tag points at.</summary>
    /// <inheritdoc cref="Check(DbTransaction, long, Digest)"/>
    public void Check(DbTransaction transaction, long repository, Tag tag) =>
        Check(
            transaction.Scalar<string>(
                "SELECT digest FROM tags WHERE repository = @repository AND name = @tag",
                ("repository", repository),
                ("tag", tag.Value)
            )
        );

    private void Check(string? current)
    {
        if ((Match is not null && !Match.Contains(current)) || (NoneMatch is not null && NoneMatch.Contains(current)))
        {
            throw new OciException(
                ErrorCodes.PreconditionFailed,
                current is null
                    ? "there is no such manifest, but the request is for one that is there (If-Match); nothing was changed"
                    : $"the manifest is {current} now, which is not what the request is for (If-Match, If-None-Match); nothing was changed"
            );
        }
    }
}

/// <summary>A list of entity tags, each the digest of a manifest; or any.</summary>
/// <param name="Any"><c>*</c>: whatever is there, as long as something is.</param>
internal sealed record EntityTags(bool Any, IReadOnlyList<string> Digests)
{
    /// <param name="current">What is there; null for nothing.</param>
    public bool Contains(string? current) =>
        current is not null && (Any || Digests.Contains(current, StringComparer.Ordinal));
}
