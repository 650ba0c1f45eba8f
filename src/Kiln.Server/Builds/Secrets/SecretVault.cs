using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.Server.Storage;

namespace Kiln.Server.Builds.Secrets;

/// <summary>
/// Build secrets: uploaded write-only, kept encrypted, bound to the one job that names them, handed out with that job's
/// leases only, deleted at its end or after an hour unused (build-extension, decision 11).
/// </summary>
internal sealed class SecretVault(Database database, Repositories repositories, ServerKeys keys, TimeProvider time)
{
    /// <summary>The largest value, in bytes.</summary>
    public const int MaxBytes = 512 << 10;
    public static readonly TimeSpan UnusedLifetime = TimeSpan.FromHours(1);

    /// <summary>Values of one user that no job has taken yet.</summary>
    private const int MaxUnused = 256;
    private const int KeyBytes = 32;
    private readonly Lazy<byte[]> _key = new(() => keys.Get(ServerKeys.Secrets, KeyBytes));

    /// <summary>Keeps a value for a job that <paramref name="createdBy"/> will ask for.</summary>
    public Task<SecretReceipt> StoreAsync(
        RepositoryName repository,
        string createdBy,
        ReadOnlyMemory<byte> value,
        CancellationToken cancel
    )
    {
        var id = Ids.New(time);
        var ciphertext = Encrypt(id, value.Span);
        var now = time.GetUtcNow();
        return database.WriteAsync(
            transaction =>
            {
                RequireRoom(transaction, createdBy);
                transaction.Run(
                    """
                    INSERT INTO secrets (id, repository, created_by, ciphertext, created)
                    VALUES (@id, @repository, @by, @ciphertext, @now)
                    """,
                    ("id", id),
                    ("repository", repositories.Ensure(transaction, repository)),
                    ("by", createdBy),
                    ("ciphertext", ciphertext),
                    ("now", now.ToUnixTimeMilliseconds())
                );
                return new SecretReceipt { Ref = id, Expires = now + UnusedLifetime };
            },
            cancel
        );
    }

    private static void RequireRoom(DbTransaction transaction, string createdBy)
    {
        var unused = transaction.Scalar<long>(
            "SELECT COUNT(*) FROM secrets WHERE created_by = @by AND job IS NULL",
            ("by", createdBy)
        );
        if (unused >= MaxUnused)
        {
            throw new OciException(
                ErrorCodes.TooManyRequests,
                $"{MaxUnused} uploaded secrets wait for a job, which is the limit; each is deleted an hour after it came"
            );
        }
    }

    /// <summary>Why the secrets that a plan names cannot be used; null where they can.</summary>
    public OciError? Check(DbConnection connection, long repository, JobPlan plan)
    {
        foreach (var secret in plan.Secrets)
        {
            var found = connection.Scalar<long?>(
                """
                SELECT 1 FROM secrets
                WHERE id = @ref AND repository = @repository AND created_by = @by AND job IS NULL AND created > @since
                """,
                ("ref", secret.Ref),
                ("repository", repository),
                ("by", plan.CreatedBy),
                ("since", (time.GetUtcNow() - UnusedLifetime).ToUnixTimeMilliseconds())
            );
            if (found is null)
            {
                return new OciError(
                    BuildErrors.SecretUnknown,
                    $"there is no unused secret under the ref given for '{secret.Id}'; a secret serves one job of the "
                        + "repository and the user that uploaded it, within an hour"
                );
            }
        }

        return null;
    }

    /// <summary>Gives a plan's secrets to its job.</summary>
    public void Bind(DbTransaction transaction, string job, JobPlan plan)
    {
        foreach (var secret in plan.Secrets)
        {
            transaction.Run(
                "UPDATE secrets SET job = @job, name = @name WHERE id = @ref",
                ("job", job),
                ("name", secret.Id),
                ("ref", secret.Ref)
            );
        }
    }

    /// <summary>
    /// The values for an execution, which has one job only where it has secrets; null where they were encrypted with
    /// another key than the one that is there now.
    /// </summary>
    public IReadOnlyList<LeaseSecret>? Of(DbConnection connection, string execution)
    {
        try
        {
            return connection.Query(
                """
                SELECT s.id, s.name, s.ciphertext FROM secrets s JOIN job_tasks t ON t.job = s.job
                WHERE t.execution = @execution ORDER BY s.name
                """,
                row => new LeaseSecret
                {
                    Id = row.GetString(1),
                    Value = Decrypt(row.GetString(0), row.GetFieldValue<byte[]>(2)),
                },
                ("execution", execution)
            );
        }
        catch (CryptographicException)
        {
            return null;
        }
    }

    /// <summary>Encrypts a few bytes that may be a part of a secret.</summary>
    public byte[] Seal(string id, ReadOnlySpan<byte> value) => Encrypt(id, value);

    /// <summary>Null where they were sealed with another key than the one that is there now.</summary>
    public byte[]? Unseal(string id, ReadOnlySpan<byte> value)
    {
        try
        {
            return Decrypt(id, value);
        }
        catch (CryptographicException)
        {
            return null;
        }
    }

    public void DeleteOf(DbTransaction transaction, string job) =>
        transaction.Run("DELETE FROM secrets WHERE job = @job", ("job", job));

    /// <summary>Deletes what nobody used in time.</summary>
    public void DeleteUnused(DbTransaction transaction) =>
        transaction.Run(
            "DELETE FROM secrets WHERE job IS NULL AND created <= @before",
            ("before", (time.GetUtcNow() - UnusedLifetime).ToUnixTimeMilliseconds())
        );

    // nonce (12 bytes), tag (16 bytes), text; the secret's id is authenticated with it, so that rows cannot be swapped.
    private byte[] Encrypt(string id, ReadOnlySpan<byte> value)
    {
        var (nonceSize, tagSize) = (AesGcm.NonceByteSizes.MaxSize, AesGcm.TagByteSizes.MaxSize);
        var sealedBytes = new byte[nonceSize + tagSize + value.Length];
        var nonce = sealedBytes.AsSpan(0, nonceSize);
        RandomNumberGenerator.Fill(nonce);
        using var aes = new AesGcm(_key.Value, tagSize);
        aes.Encrypt(
            nonce,
            value,
            sealedBytes.AsSpan(nonceSize + tagSize),
            sealedBytes.AsSpan(nonceSize, tagSize),
            Encoding.ASCII.GetBytes(id)
        );
        return sealedBytes;
    }

    private byte[] Decrypt(string id, ReadOnlySpan<byte> sealedBytes)
    {
        var (nonceSize, tagSize) = (AesGcm.NonceByteSizes.MaxSize, AesGcm.TagByteSizes.MaxSize);
        var value = new byte[sealedBytes.Length - nonceSize - tagSize];
        using var aes = new AesGcm(_key.Value, tagSize);
        aes.Decrypt(
            sealedBytes[..nonceSize],
            sealedBytes[(nonceSize + tagSize)..],
            sealedBytes.Slice(nonceSize, tagSize),
            value,
            Encoding.ASCII.GetBytes(id)
        );
        return value;
    }
}
