using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Leases;

/// <summary>A lease as a word names it: its id, and the execution that it is or was for.</summary>
internal sealed record LeaseId(string Id, string Execution);

/// <summary>A row of <c>leases</c>.</summary>
/// <param name="Received">Bytes of log that came under it.</param>
/// <param name="Last"><c>START-END HASH</c> of the last piece of log.</param>
/// <param name="Held">Encrypted: what may be the beginning of a secret and is not in the log yet.</param>
internal sealed record LeaseRow(
    string Id,
    string Execution,
    string Job,
    string Task,
    string Principal,
    int Seconds,
    string? ClaimHash,
    long Received,
    string? Last,
    byte[]? Held
)
{
    private const string Columns =
        "id, execution, job, task, principal, seconds, claim_hash, log_received, log_last, log_held";

    public LeaseId Key => new(Id, Execution);

    public static LeaseRow? Find(DbConnection connection, string id) => Select(connection, "id = @value", id);

    /// <summary>The lease of a credential.</summary>
    public static LeaseRow? OfSecret(DbConnection connection, string secret) =>
        Select(connection, "secret_hash = @value", Hash(secret));

    /// <summary>The lease that an earlier try of a claim got.</summary>
    public static LeaseRow? OfClaim(DbConnection connection, string principal, string key) =>
        Select(connection, "principal = @principal AND claim_key = @value", key, principal);

    public static void Insert(DbTransaction transaction, Claimed claimed, string? secret, long now)
    {
        var (job, task) = JobOf(transaction.Connection!, claimed.Execution.Id);
        transaction.Run(
            """
            INSERT INTO leases (id, execution, job, task, principal, node, secret_hash, seconds, claim_key, claim_hash, created)
            VALUES (@id, @execution, @job, @task, @principal, @node, @secret, @seconds, @key, @hash, @now)
            """,
            ("id", claimed.Lease),
            ("execution", claimed.Execution.Id),
            ("job", job),
            ("task", task),
            ("principal", claimed.By.Name),
            ("node", claimed.Claim.Node),
            ("secret", secret is null ? null : Hash(secret)),
            ("seconds", claimed.Seconds),
            ("key", claimed.By.Repeatable?.Key),
            ("hash", claimed.By.Repeatable?.Hash),
            ("now", now)
        );
    }

    public static void SetSecret(DbTransaction transaction, string id, string secret) =>
        transaction.Run("UPDATE leases SET secret_hash = @secret WHERE id = @id", ("id", id), ("secret", Hash(secret)));

    public static void SetSeconds(DbTransaction transaction, string id, int seconds) =>
        transaction.Run("UPDATE leases SET seconds = @seconds WHERE id = @id", ("id", id), ("seconds", seconds));

    public static void SetLog(DbTransaction transaction, string id, long received, string? last, byte[]? held) =>
        transaction.Run(
            "UPDATE leases SET log_received = @received, log_last = @last, log_held = @held WHERE id = @id",
            ("id", id),
            ("received", received),
            ("last", last),
            ("held", held)
        );

    public static void DeleteBefore(DbTransaction transaction, long time) =>
        transaction.Run(
            """
            DELETE FROM leases WHERE created < @time
                AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.id = leases.execution AND e.lease = leases.id)
            """,
            ("time", time)
        );

    // It has 256 random bits, so no salt is needed.
    private static string Hash(string secret) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(secret)));

    /// <summary>Of the jobs that share an execution the oldest that still waits for it: its address is the lease's.</summary>
    public static (string Job, string Task) JobOf(DbConnection connection, string execution) =>
        connection.Query(
            """
            SELECT t.job, t.ordinal FROM job_tasks t JOIN jobs j ON j.id = t.job WHERE t.execution = @execution
            ORDER BY CASE WHEN t.departed = 0 AND j.finished IS NULL THEN 0 ELSE 1 END, t.job, t.ordinal LIMIT 1
            """,
            row => (row.GetString(0), $"t{row.GetInt32(1)}"),
            ("execution", execution)
        )[0];

    private static LeaseRow? Select(DbConnection connection, string condition, string value, string principal = "") =>
        connection
            .Query(
                $"SELECT {Columns} FROM leases WHERE {condition}",
                row => new LeaseRow(
                    row.GetString(0),
                    row.GetString(1),
                    row.GetString(2),
                    row.GetString(3),
                    row.GetString(4),
                    row.GetInt32(5),
                    row.TextOrNull(6),
                    row.GetInt64(7),
                    row.TextOrNull(8),
                    row.IsDBNull(9) ? null : row.GetFieldValue<byte[]>(9)
                ),
                ("value", value),
                ("principal", principal)
            )
            .FirstOrDefault();
}
