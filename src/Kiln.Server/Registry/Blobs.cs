using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;

namespace Kiln.Server.Registry;

/// <summary>
/// Which repository sees which blob. Bytes are kept once; a blob in one repository is unknown in another until it is
/// pushed or mounted there.
/// </summary>
internal sealed class Blobs(
    Database database,
    IBlobStore store,
    Repositories repositories,
    Quotas quotas,
    TimeProvider time
)
{
    // Of the repositories that have a blob, so many are tried as the one to mount it from.
    private const int MaxMountSources = 1000;

    /// <summary>The size in bytes; null where the repository does not have the blob.</summary>
    public long? Size(RepositoryName repository, Digest digest) =>
        database.Read(c =>
            c.Scalar<long?>(
                """
                SELECT b.size FROM repositories r
                JOIN repository_blobs l ON l.repository = r.id
                JOIN blobs b ON b.digest = l.digest
                WHERE r.name = @name AND l.digest = @digest
                """,
                ("name", repository.Value),
                ("digest", digest.ToString())
            )
        );

    /// <summary>
    /// As <see cref="Size"/>, for a client that goes by the answer: what it is told to be there stays long enough for it to
    /// push a manifest that refers to it.
    /// </summary>
    public async ValueTask<long?> PromiseAsync(RepositoryName repository, Digest digest, CancellationToken cancel)
    {
        var found = database.Read(c =>
            c.Query<(long Repository, long Size, bool Condemned)?>(
                    """
                    SELECT l.repository, b.size, c.since FROM repositories r
                    JOIN repository_blobs l ON l.repository = r.id
                    JOIN blobs b ON b.digest = l.digest
                    LEFT JOIN condemned_links c ON c.repository = l.repository AND c.digest = l.digest
                    WHERE r.name = @name AND l.digest = @digest
                    """,
                    row => (row.GetInt64(0), row.GetInt64(1), !row.IsDBNull(2)),
                    ("name", repository.Value),
                    ("digest", digest.ToString())
                )
                .FirstOrDefault()
        );
        return
            found is not { Condemned: true } blob
            || await database.WriteAsync(t => Rescue(t, blob.Repository, digest), cancel)
            ? found?.Size
            : null;
    }

    /// <summary>Puts off the removal of a blob from a repository that is condemned there.</summary>
    /// <returns>Whether the repository sees it.</returns>
    public static bool Rescue(DbTransaction transaction, long repository, Digest digest)
    {
        transaction.Run(
            "DELETE FROM condemned_links WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        );
        return IsLinked(transaction.Connection!, repository, digest);
    }

    /// <summary>Opens a blob of a repository from a byte offset; null where the repository does not have it.</summary>
    public async Task<Stream?> OpenAsync(
        RepositoryName repository,
        Digest digest,
        long offset,
        CancellationToken cancel
    ) => Size(repository, digest) is null ? null : await store.OpenAsync(digest, offset, cancel);

    /// <summary>As <see cref="OpenAsync"/>, of a blob that <see cref="Size"/> has just found in the repository.</summary>
    /// <param name="length">Bytes that will be read at most.</param>
    public Task<Stream?> OpenVisibleAsync(Digest digest, long offset, long length, CancellationToken cancel) =>
        store.OpenAsync(digest, offset, length, cancel);

    /// <summary>
    /// An address outside this registry for a blob that <see cref="Size"/> has just found in the repository, which tells
    /// it to whoever has the address; null where clients have to read it here.
    /// </summary>
    public Uri? LinkVisible(Digest digest) => store.Link(digest);

    /// <summary>Whether a repository sees a blob.</summary>
    public static bool IsLinked(DbConnection connection, long repository, Digest digest) =>
        connection.Scalar<long?>(
            "SELECT 1 FROM repository_blobs WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        )
            is not null;

    /// <summary>Whether a blob was recorded, and has not been deleted since.</summary>
    public static bool IsKnown(DbTransaction transaction, Digest digest) =>
        transaction.Scalar<long?>("SELECT 1 FROM blobs WHERE digest = @digest", ("digest", digest.ToString()))
            is not null;

    /// <summary>Whether a blob will leave a repository unless somebody uses it again.</summary>
    public static bool IsCondemned(DbConnection connection, long repository, Digest digest) =>
        connection.Scalar<long?>(
            "SELECT since FROM condemned_links WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        )
            is not null;

    /// <summary>Notes a blob that is whole and durable in the store. No repository sees it before <see cref="Link"/>.</summary>
    /// <param name="size">In bytes.</param>
    /// <exception cref="OciException">
    /// <c>UNAVAILABLE</c>, 503: its bytes are being deleted. <see cref="CondemnedBlobs.RecordAsync"/> gets over that.
    /// </exception>
    public void Record(DbTransaction transaction, Digest digest, long size)
    {
        CondemnedBlobs.RequireNone(transaction, digest);
        transaction.Run(
            "INSERT INTO blobs (digest, size, created) VALUES (@digest, @size, @now) ON CONFLICT DO NOTHING",
            ("digest", digest.ToString()),
            ("size", size),
            ("now", time.Milliseconds())
        );
    }

    /// <summary>Lets a repository see a blob that was recorded, and keeps the collector from both.</summary>
    /// <exception cref="OciException"><c>BLOB_UNKNOWN</c>, 404: there is no such blob (any more).</exception>
    public void Link(DbTransaction transaction, long repository, Digest digest)
    {
        var linked = transaction.Run(
            """
            INSERT INTO repository_blobs (repository, digest, created)
            SELECT @repository, digest, @now FROM blobs WHERE digest = @digest ON CONFLICT DO NOTHING
            """,
            ("repository", repository),
            ("digest", digest.ToString()),
            ("now", time.Milliseconds())
        );
        CondemnedBlobs.Rescue(transaction, digest);
        if (!Rescue(transaction, repository, digest))
        {
            throw new OciException(ErrorCodes.BlobUnknown, $"the blob {digest} is gone; push it again");
        }

        if (linked > 0)
        {
            Note(transaction, JournalOps.Link, repository, digest, time.Milliseconds());
        }
    }

    /// <summary>As <see cref="Link"/>, for a client, whom quotas may refuse it.</summary>
    /// <exception cref="OciException"><c>DENIED</c>, 403: a quota is full. Or as <see cref="Link"/>.</exception>
    public void Admit(DbTransaction transaction, RepositoryName name, Digest digest)
    {
        if (quotas.Hold(name))
        {
            var size = transaction.Scalar<long>(
                "SELECT size FROM blobs WHERE digest = @digest",
                ("digest", digest.ToString())
            );
            if (quotas.Refusal(transaction.Connection!, name, digest, size) is { } refusal)
            {
                throw new OciException(refusal);
            }

            quotas.Arrived(transaction, name, digest, size);
        }

        Link(transaction, repositories.Ensure(transaction, name), digest);
    }

    /// <summary>Has a repository see a blob no more; its bytes are the collector's, once no other sees it.</summary>
    /// <param name="now">In Unix milliseconds.</param>
    /// <returns>Whether it did.</returns>
    public static bool Unlink(DbTransaction transaction, long repository, Digest digest, long now)
    {
        transaction.Run(
            "DELETE FROM condemned_links WHERE repository = @repository AND digest = @digest",
            ("repository", repository),
            ("digest", digest.ToString())
        );
        if (
            transaction.Run(
                "DELETE FROM repository_blobs WHERE repository = @repository AND digest = @digest",
                ("repository", repository),
                ("digest", digest.ToString())
            ) == 0
        )
        {
            return false;
        }

        Note(transaction, JournalOps.Unlink, repository, digest, now);
        return true;
    }

    private static void Note(DbTransaction transaction, string op, long repository, Digest digest, long now) =>
        JournalOutbox.Note(
            transaction,
            repository,
            new JournalEntry
            {
                Op = op,
                Repository = "",
                Digest = digest.ToString(),
                Time = now,
            }
        );

    /// <summary>
    /// Makes a blob of another repository visible in this one (distribution-spec, "Mounting a blob from another
    /// repository").
    /// </summary>
    /// <param name="from">The other repository; null takes it from any.</param>
    /// <param name="mayRead">Whether the client may pull from the repository of a name.</param>
    /// <returns>False where the blob is not there, as far as the client may know: it has to push it.</returns>
    public Task<bool> MountAsync(
        RepositoryName repository,
        Digest digest,
        RepositoryName? from,
        Func<string, bool> mayRead,
        CancellationToken cancel
    ) =>
        database.WriteAsync(
            transaction =>
            {
                var found = transaction
                    .Query(
                        """
                        SELECT r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository
                        WHERE l.digest = @digest AND (r.name = @from OR @from = '') LIMIT @limit
                        """,
                        row => row.GetString(0),
                        ("digest", digest.ToString()),
                        ("from", from?.Value ?? ""),
                        ("limit", MaxMountSources)
                    )
                    .Exists(name => mayRead(name));
                if (found)
                {
                    Admit(transaction, repository, digest);
                }

                return found;
            },
            cancel
        );

    /// <summary>
    /// Takes a blob out of a repository. One that a manifest of the repository refers to stays: a pull of it would break.
    /// </summary>
    /// <exception cref="OciException"><c>BLOB_UNKNOWN</c> 404, or <c>UNSUPPORTED</c> 405 while a manifest refers to it.</exception>
    public Task DeleteAsync(RepositoryName name, Digest digest, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var repository = Repositories.Find(transaction.Connection!, name);
                var user = transaction.Scalar<string>(
                    "SELECT manifest FROM manifest_references WHERE repository = @repository AND digest = @digest LIMIT 1",
                    ("repository", repository),
                    ("digest", digest.ToString())
                );
                if (repository is not { } id || !Unlink(transaction, id, digest, time.Milliseconds()))
                {
                    throw new OciException(ErrorCodes.BlobUnknown, $"repository {name} has no blob {digest}");
                }

                if (user is not null)
                {
                    throw new OciException(
                        ErrorCodes.MethodUnsupported,
                        $"the manifest {user} refers to this blob; delete that first"
                    );
                }
            },
            cancel
        );
}
