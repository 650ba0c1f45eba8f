using System.Collections.Concurrent;
using System.Data.Common;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Intake;

/// <summary>A request that may be repeated.</summary>
/// <param name="Key">Its <c>Idempotency-Key</c>.</param>
/// <param name="Hash">Of the request.</param>
internal sealed record RepeatableRequest(string Key, string Hash);

/// <summary>Which job an <c>Idempotency-Key</c> stands for, for a day.</summary>
internal sealed class JobKeys(Database database, TimeProvider time)
{
    private const long LifetimeMilliseconds = 24L * 3600 * 1000;
    private readonly ConcurrentDictionary<(string Principal, string Repository, string Key), byte> _inFlight = new();

    /// <summary>Runs a request under its key, unless it was run before.</summary>
    /// <exception cref="OciException"><c>BUILD_IDEMPOTENCY_CONFLICT</c>: another request 422, one under way 409.</exception>
    public async Task<string> OnceAsync(
        RepositoryName repository,
        string principal,
        RepeatableRequest? request,
        Func<Task<string>> run
    )
    {
        if (request is null)
        {
            return await run();
        }

        if (database.Read(c => Find(c, repository, principal, request)) is { } before)
        {
            return before;
        }

        var slot = (principal, repository.Value, request.Key);
        if (!_inFlight.TryAdd(slot, 0))
        {
            throw new OciException(
                BuildErrors.IdempotencyInFlight,
                "a request with this Idempotency-Key is being worked on; ask again in a second"
            );
        }

        try
        {
            return await run();
        }
        finally
        {
            _inFlight.TryRemove(slot, out _);
        }
    }

    /// <summary>The job that the request's key stands for; null where it is new.</summary>
    /// <exception cref="OciException"><c>BUILD_IDEMPOTENCY_CONFLICT</c>, 422: it stands for another request.</exception>
    public static string? Find(
        DbConnection connection,
        RepositoryName repository,
        string principal,
        RepeatableRequest request
    )
    {
        var found = connection.Query(
            "SELECT hash, job FROM job_keys WHERE principal = @principal AND repository = @repository AND key = @key",
            row => (Hash: row.GetString(0), Job: row.GetString(1)),
            ("principal", principal),
            ("repository", repository.Value),
            ("key", request.Key)
        );
        return found.Count == 0 ? null
            : found[0].Hash == request.Hash ? found[0].Job
            : throw new OciException(
                BuildErrors.IdempotencyConflict,
                "this Idempotency-Key was used for another request; use a new one for each"
            );
    }

    /// <summary>Notes the job in the transaction that makes it.</summary>
    public void Note(
        DbTransaction transaction,
        RepositoryName repository,
        string principal,
        RepeatableRequest request,
        string job
    ) =>
        transaction.Run(
            """
            INSERT INTO job_keys (principal, repository, key, hash, job, created)
            VALUES (@principal, @repository, @key, @hash, @job, @now)
            """,
            ("principal", principal),
            ("repository", repository.Value),
            ("key", request.Key),
            ("hash", request.Hash),
            ("job", job),
            ("now", time.Milliseconds())
        );

    public void DeleteOld(DbTransaction transaction) =>
        transaction.Run(
            "DELETE FROM job_keys WHERE created < @before",
            ("before", time.Milliseconds() - LifetimeMilliseconds)
        );
}
