using System.Data.Common;
using System.Globalization;
using System.Security.Cryptography;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Builds.Secrets;
using Kiln.Server.Metadata;

namespace Kiln.Server.Builds.Leases;

/// <summary>
/// What comes into an execution's log under a lease, with the values of secrets replaced. Under a lease bytes are counted
/// as they came, from 0: what becomes of them in the log is another number.
/// </summary>
internal sealed class LeaseLog(BuildLog log, SecretVault secrets)
{
    /// <summary>Appends a piece; where the sender says which, only the next one.</summary>
    /// <param name="start">The first byte's number under this lease; null where the sender cannot have lost an answer.</param>
    /// <returns>Bytes that came under this lease, and whether the log takes no more.</returns>
    /// <exception cref="OciException"><c>BUILD_LOG_RANGE_INVALID</c>, 416: the piece overlaps or skips.</exception>
    public (long Received, bool Full) Append(
        DbTransaction transaction,
        ExecutionRow execution,
        LeaseRow lease,
        long? start,
        ReadOnlyMemory<byte> text
    )
    {
        var piece = start is null ? null : Name(start.Value, text.Span);
        if (piece is not null && piece == lease.Last)
        {
            // The answer was lost.
            return (lease.Received, execution.LogTruncated);
        }

        if (start is not null && start != lease.Received)
        {
            throw new LogGapException(lease.Received);
        }

        var (written, held) = Mask(transaction.Connection!, execution.Id, lease, text);
        log.Append(transaction, execution.Id, written);
        var received = lease.Received + text.Length;
        LeaseRow.SetLog(transaction, lease.Id, received, piece, held);
        return (
            received,
            execution.LogTruncated || Executions.Find(transaction.Connection!, execution.Id)!.LogTruncated
        );
    }

    /// <summary>Writes what was held back, at the lease's end: it has not become a secret.</summary>
    public void Finish(DbTransaction transaction, ExecutionRow execution, LeaseRow? lease)
    {
        if (lease?.Held is { Length: > 0 } held)
        {
            log.Append(transaction, execution.Id, secrets.Unseal(lease.Id, held) ?? []);
            LeaseRow.SetLog(transaction, lease.Id, lease.Received, lease.Last, null);
        }
    }

    /// <summary>A whole text with the values of the execution's secrets replaced.</summary>
    public string? Mask(DbConnection connection, ExecutionRow execution, string? text) =>
        text is null ? null : new SecretMask(secrets.Of(connection, execution.Id) ?? []).Apply(text);

    private (ReadOnlyMemory<byte> Written, byte[]? Held) Mask(
        DbConnection connection,
        string execution,
        LeaseRow lease,
        ReadOnlyMemory<byte> text
    )
    {
        if (secrets.Of(connection, execution) is not { Count: > 0 } values)
        {
            return (text, null);
        }

        var mask = new SecretMask(values, lease.Held is null ? [] : secrets.Unseal(lease.Id, lease.Held) ?? []);
        var written = mask.Next(text);
        mask.Advance();
        return (written, mask.Rest.IsEmpty ? null : secrets.Seal(lease.Id, mask.Rest.Span));
    }

    private static string Name(long start, ReadOnlySpan<byte> text) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{start}-{start + text.Length - 1} {Convert.ToHexStringLower(SHA256.HashData(text))}"
        );
}

/// <summary>A piece of log that is not the next one.</summary>
/// <param name="received">Bytes that came so far: the next one's number.</param>
internal sealed class LogGapException(long received) : Exception($"the next byte of this lease's log is {received}")
{
    public long Received { get; } = received;
}
