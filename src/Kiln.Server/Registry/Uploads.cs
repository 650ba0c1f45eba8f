using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Metering;
using Kiln.Server.Storage;

namespace Kiln.Server.Registry;

/// <summary>An upload session. Its bytes so far are in the blob store under the same id.</summary>
/// <param name="Algorithm">What the bytes are hashed with as they come.</param>
/// <param name="Updated">When a request last wrote to it, in Unix milliseconds, to within a minute.</param>
internal sealed record Upload(string Id, long RepositoryId, RepositoryName Repository, string Algorithm, long Updated);

/// <summary>Where a blob goes that is pushed to no repository: into the staging area of a lease.</summary>
/// <param name="Lease">The only one that sees its uploads.</param>
/// <param name="Record">Called in the transaction in which the blob is whole, with its size.</param>
internal sealed record BlobStaging(string Lease, Action<DbTransaction, Digest, long> Record);

/// <summary>Blob uploads: in one request, in chunks, resumed (distribution-spec, "Pushing blobs").</summary>
internal sealed class Uploads(
    Database database,
    IBlobStore store,
    Repositories repositories,
    Blobs blobs,
    CondemnedBlobs condemned,
    Quotas quotas,
    TransferBuffers buffers,
    ServerOptions options,
    TimeProvider time
)
{
    private const int BufferSize = 512 << 10;
    private const long TouchAfterMilliseconds = 60_000;

    /// <summary>Opens a session.</summary>
    /// <exception cref="OciException"><c>TOOMANYREQUESTS</c>, 429: too many are open in this repository.</exception>
    public Task<Upload> StartAsync(
        RepositoryName name,
        string algorithm,
        CancellationToken cancel,
        BlobStaging? staging = null
    ) =>
        database.WriteAsync(
            transaction =>
            {
                var repository = repositories.Ensure(transaction, name);
                CheckCount(transaction, repository);
                // What a lease stages counts when it is promoted.
                if (staging is null)
                {
                    CheckQuota(transaction.Connection!, name, digest: null, size: 1);
                }

                var upload = new Upload(NewId(), repository, name, algorithm, time.Milliseconds());
                transaction.Run(
                    """
                    INSERT INTO uploads (id, repository, algorithm, created, updated, lease)
                    VALUES (@id, @repository, @algorithm, @now, @now, @lease)
                    """,
                    ("id", upload.Id),
                    ("repository", repository),
                    ("algorithm", algorithm),
                    ("now", upload.Updated),
                    ("lease", staging?.Lease)
                );
                return upload;
            },
            cancel
        );

    /// <summary>The session of that id in that repository; null where there is none (any more).</summary>
    public Upload? Find(RepositoryName name, string id, BlobStaging? staging = null) =>
        database.Read(c =>
            c.Query(
                    """
                    SELECT u.id, u.repository, u.algorithm, u.updated
                    FROM uploads u JOIN repositories r ON r.id = u.repository
                    WHERE u.id = @id AND r.name = @name AND COALESCE(u.lease, '') = @lease
                    """,
                    row => new Upload(row.GetString(0), row.GetInt64(1), name, row.GetString(2), row.GetInt64(3)),
                    ("id", id),
                    ("name", name.Value),
                    ("lease", staging?.Lease ?? "")
                )
                .FirstOrDefault()
        );

    /// <summary>Bytes stored so far.</summary>
    public async Task<long> LengthAsync(Upload upload, CancellationToken cancel) =>
        await store.UploadedAsync(upload.Id, cancel) ?? 0;

    /// <summary>
    /// Appends a body. What came of a body that broke off is kept: <see cref="LengthAsync"/> says how much that is.
    /// </summary>
    /// <param name="start">Where the sender believes to be; null where it did not say.</param>
    /// <returns>Bytes stored now.</returns>
    /// <exception cref="OciException">Out of order 416, too large 413, in use by another request 409.</exception>
    public async Task<long> AppendAsync(Upload upload, long? start, Stream body, CancellationToken cancel)
    {
        await using var staged = await store.UploadAsync(upload.Id, upload.Algorithm, cancel);
        CheckStart(staged, start);
        await CopyAsync(body, staged, cancel);
        await TouchAsync(upload, cancel);
        return staged.Length;
    }

    /// <summary>
    /// Appends the last body, which may be empty, and makes the whole a blob of the repository. A refused or broken
    /// request leaves the session as it was before it.
    /// </summary>
    /// <exception cref="OciException">As <see cref="AppendAsync"/>, or another digest than the bytes have, 400.</exception>
    public async Task FinishAsync(
        Upload upload,
        Digest digest,
        long? start,
        Stream body,
        CancellationToken cancel,
        BlobStaging? staging = null
    )
    {
        await using var staged = await store.UploadAsync(upload.Id, digest.Algorithm, cancel);
        CheckStart(staged, start);
        var size = await ReceiveAsync(staged, digest, body, cancel);
        await PublishAsync(upload.Repository, digest, size, upload.Id, staging);
    }

    /// <summary>Pushes a blob in one request, without a session.</summary>
    /// <param name="announced">How many bytes the client says that it has; null where it does not say.</param>
    /// <inheritdoc cref="FinishAsync"/>
    public async Task PushAsync(
        RepositoryName name,
        Digest digest,
        long? announced,
        Stream body,
        CancellationToken cancel,
        BlobStaging? staging = null
    )
    {
        if (staging is null)
        {
            database.Read(c =>
            {
                CheckQuota(c, name, digest, announced ?? 1);
                return true;
            });
        }

        var id = NewId();
        try
        {
            await using var staged = await store.UploadAsync(id, digest.Algorithm, cancel);
            var size = await ReceiveAsync(staged, digest, body, cancel);
            await PublishAsync(name, digest, size, session: null, staging);
        }
        finally
        {
            await store.DiscardAsync(id, CancellationToken.None);
        }
    }

    /// <summary>Ends a session and throws its bytes away.</summary>
    public async Task CancelAsync(Upload upload, CancellationToken cancel)
    {
        await store.DiscardAsync(upload.Id, cancel);
        await database.WriteAsync(transaction => Remove(transaction, upload.Id), cancel);
    }

    /// <summary>Ends every session that no request wrote to for <see cref="ServerOptions.UploadExpiry"/>.</summary>
    /// <returns>How many uploads were thrown away.</returns>
    public async Task<int> ExpireAsync(CancellationToken cancel)
    {
        var before = time.GetUtcNow() - options.UploadExpiry;
        var discarded = await store.DiscardAsync(before, cancel);
        foreach (var (id, _) in Expired())
        {
            // What the store still has is being written to, by a request that takes longer than sessions live.
            if (await store.UploadedAsync(id, cancel) is null)
            {
                await database.WriteAsync(transaction => Remove(transaction, id), cancel);
            }
        }

        return discarded;
    }

    /// <summary>Sessions that no request wrote to for so long, with the names of their repositories.</summary>
    public IReadOnlyList<(string Id, string Repository)> Expired() =>
        database.Read(c =>
            c.Query(
                """
                SELECT u.id, r.name FROM uploads u JOIN repositories r ON r.id = u.repository WHERE u.updated < @before
                """,
                row => (row.GetString(0), row.GetString(1)),
                ("before", (time.GetUtcNow() - options.UploadExpiry).ToUnixTimeMilliseconds())
            )
        );

    private void CheckCount(DbTransaction transaction, long repository)
    {
        var open = transaction.Scalar<long>(
            "SELECT COUNT(*) FROM uploads WHERE repository = @repository",
            ("repository", repository)
        );
        if (open >= options.MaxUploads)
        {
            throw new OciException(
                ErrorCodes.TooManyRequests,
                $"{open} uploads are open in this repository; finish or cancel some, or wait until they expire"
            );
        }
    }

    private void CheckQuota(DbConnection connection, RepositoryName name, Digest? digest, long size)
    {
        if (quotas.Refusal(connection, name, digest, size) is { } refusal)
        {
            throw new OciException(refusal);
        }
    }

    private static string NewId() => Guid.NewGuid().ToString("n");

    private static void Remove(DbTransaction transaction, string id) =>
        transaction.Run("DELETE FROM uploads WHERE id = @id", ("id", id));

    private Task PublishAsync(RepositoryName name, Digest digest, long size, string? session, BlobStaging? staging) =>
        condemned.RecordAsync(
            [digest],
            transaction =>
            {
                if (staging is not null)
                {
                    staging.Record(transaction, digest, size);
                }
                else
                {
                    blobs.Record(transaction, digest, size);
                    blobs.Admit(transaction, name, digest);
                }

                if (session is not null)
                {
                    Remove(transaction, session);
                }

                return true;
            },
            CancellationToken.None
        );

    // "If a chunk is uploaded out of order, the registry MUST respond with a 416 Requested Range Not Satisfiable code"
    // (distribution-spec, "Pushing a blob in chunks").
    private static void CheckStart(IBlobUpload staged, long? start)
    {
        if (start is { } given && given != staged.Length)
        {
            throw new OciException(
                ErrorCodes.BlobUploadRange,
                $"the chunk starts at byte {given}, but the next byte of this upload is {staged.Length}"
            );
        }
    }

    private async Task<long> ReceiveAsync(IBlobUpload staged, Digest digest, Stream body, CancellationToken cancel)
    {
        try
        {
            await CopyAsync(body, staged, cancel);
            if (await staged.DigestAsync(cancel) is var found && found != digest)
            {
                throw new OciException(
                    ErrorCodes.DigestInvalid,
                    $"the {staged.Length} bytes of this blob have the digest {found}, not {digest}"
                );
            }
        }
        catch
        {
            staged.RollBack();
            throw;
        }

        var size = staged.Length;
        await condemned.PrepareAsync(digest, cancel);
        await staged.CommitAsync(CancellationToken.None);
        return size;
    }

    // Whole buffers, not segments as they arrive: a third faster.
    private async Task CopyAsync(Stream body, IBlobUpload staged, CancellationToken cancel)
    {
        var buffer = buffers.Rent(BufferSize);
        try
        {
            for (var more = true; more; )
            {
                var filled = 0;
                try
                {
                    while (more && filled < buffer.Length)
                    {
                        var read = await body.ReadAsync(buffer.AsMemory(filled), cancel);
                        filled += read;
                        more = read > 0;
                    }
                }
                finally
                {
                    await AppendAsync(staged, buffer.AsMemory(0, filled));
                }
            }
        }
        finally
        {
            buffers.Return(buffer);
        }
    }

    private async Task AppendAsync(IBlobUpload staged, ReadOnlyMemory<byte> bytes)
    {
        if (staged.Length + bytes.Length > options.MaxBlobBytes)
        {
            throw new OciException(
                ErrorCodes.BlobTooLarge,
                $"a blob may have {options.MaxBlobBytes} bytes at most in this registry"
            );
        }

        if (bytes.Length > 0)
        {
            await staged.AppendAsync(bytes, CancellationToken.None);
            Meters.UploadedBytes.Add(bytes.Length);
        }
    }

    private async Task TouchAsync(Upload upload, CancellationToken cancel)
    {
        var now = time.Milliseconds();
        if (now - upload.Updated >= TouchAfterMilliseconds)
        {
            await database.WriteAsync(
                transaction =>
                    transaction.Run(
                        "UPDATE uploads SET updated = @now WHERE id = @id",
                        ("now", now),
                        ("id", upload.Id)
                    ),
                cancel
            );
        }
    }
}
