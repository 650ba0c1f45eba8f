using System.Data.Common;
using Kiln.Oci;

namespace Kiln.Server.Registry;

/// <summary>
/// What else a pushed manifest sets off. The registry asks in the push's own transaction, so that what is decided here
/// is durable exactly when the push is.
/// </summary>
internal interface IPushTrigger
{
    /// <summary>
    /// Called in the transaction of every manifest that a client pushes, after its rows are written. Throwing an
    /// <see cref="OciException"/> refuses the push as a whole.
    /// </summary>
    /// <returns>What to tell the client in the answer's headers; null when the manifest sets off nothing.</returns>
    PushNotice? OnManifestPushed(DbTransaction transaction, ManifestPushed push);

    /// <summary>Called once the transaction is durable, only for a push that <see cref="OnManifestPushed"/> noted.</summary>
    void AfterCommit(ManifestPushed push);
}

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
