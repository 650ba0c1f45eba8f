using System.Data.Common;
using Kiln.Oci;

namespace Kiln.Server.Registry;

/// <summary>
/// What else a pushed manifest sets off. It first reads what it needs, without a lock, and then decides in the push's own
/// transaction, so that what it decides is durable exactly when the push is.
/// </summary>
internal interface IPushTrigger
{
    /// <summary>
    /// Called for every manifest that a client pushes, before its transaction begins; what the manifest refers to may
    /// still prove to be missing. May take long.
    /// </summary>
    /// <returns>What to do in the transaction; null when the manifest sets off nothing.</returns>
    Task<PushReaction?> PrepareAsync(ManifestPush push, Digest digest, ManifestInfo manifest, CancellationToken cancel);
}

/// <summary>
/// Called in the transaction of a push, after its rows are written. Throwing an <see cref="OciException"/> refuses the
/// push as a whole.
/// </summary>
/// <returns>What to tell the client in the answer's headers.</returns>
internal delegate PushNotice? PushReaction(DbTransaction transaction, ManifestPushed push);

/// <summary>A manifest whose rows are written and, inside a trigger, not committed yet.</summary>
/// <param name="RepositoryId">Key of the repository in the metadata database.</param>
/// <param name="Digest">In the algorithm that the client pushed by; sha256 for a push by tag.</param>
/// <param name="Tags">Tags that now point at it; empty for a push by digest alone.</param>
/// <param name="Content">The bytes as they came.</param>
/// <param name="Principal">Who pushed, as <see cref="Access.Principal.Name"/>.</param>
internal sealed record ManifestPushed(
    long RepositoryId,
    RepositoryName Repository,
    Digest Digest,
    IReadOnlyList<Tag> Tags,
    ManifestInfo Manifest,
    ReadOnlyMemory<byte> Content,
    string Principal
);

/// <summary>Headers that the answer to a push carries: <c>Link</c> (RFC 8288) and <c>Warning</c> (distribution-spec, "Warnings").</summary>
internal sealed record PushNotice(string? Link, string? Warning);
