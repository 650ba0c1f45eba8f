using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server.Builds.Progress;
using Kiln.Server.Builds.Publish;
using Kiln.Server.Builds.Queue;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Leases;

/// <summary>How a result was taken.</summary>
/// <param name="State">Of the execution.</param>
/// <param name="Fault">Why the product was refused; null where it was not.</param>
internal sealed record ResultAnswer(string State, string? Fault)
{
    public bool Published => State == BuildStates.Succeeded;
}

/// <summary>The end of a lease by a result: the product is checked, published or refused.</summary>
internal sealed class LeaseResults(
    Database database,
    LeaseDesk desk,
    Executions executions,
    Promotion promotion,
    ProductCheck check,
    EvidenceMaker maker,
    CondemnedBlobs condemned,
    Settlement settlement,
    Attempts attempts,
    LeaseLog pieces,
    BuildLog log,
    TimeProvider time
)
{
    // Reading a product's layers for hints may take long; the lease holds meanwhile.
    private const int CompletionSeconds = 600;

    // A node that goes on writing its log after it has told its result gets the log as it was.
    private const int MaxLogTries = 5;

    /// <summary>
    /// Ends the lease with a result. The same result again is accepted again; another one under the same lease is not. A
    /// product that is refused is the attempt's end, and not the build's while there are attempts left.
    /// </summary>
    /// <exception cref="OciException">A different result was accepted before: <c>BUILD_STATE_INVALID</c>.</exception>
    public async Task<ResultAnswer> CompleteAsync(LeaseId lease, LeaseResult result, CancellationToken cancel)
    {
        var hash = Hash(result);
        if (Accepted(lease, hash) is { } before)
        {
            return new ResultAnswer(before.State, null);
        }

        var row = await BeginAsync(lease, cancel);
        try
        {
            Product? product = null;
            string? fault = null;
            if (result.State == BuildStates.Succeeded && !row.Cancel)
            {
                (product, fault) = await check.CheckAsync(row, result, cancel);
            }

            var state = await EndAsync(lease, row, new Judged(result, product, fault, hash), cancel);
            return new ResultAnswer(state ?? row.State, fault);
        }
        catch (Exception e) when (e is not LeaseLostException)
        {
            // It may be told again, by this node or, when that is silent, by the next.
            await database.WriteAsync(transaction => Extend(transaction, lease, null), CancellationToken.None);
            throw;
        }
    }

    private async Task<string?> EndAsync(LeaseId lease, ExecutionRow row, Judged judged, CancellationToken cancel)
    {
        for (var tries = 1; ; tries++)
        {
            var evidence = judged.Product is { } product
                ? await maker.MakeAsync(row, judged.Result, product, cancel)
                : null;
            try
            {
                var (ended, state) = await condemned.RecordAsync<(bool Ended, string? State)>(
                    evidence?.Digests ?? [],
                    transaction =>
                    {
                        var held = desk.Held(transaction.Connection!, lease);
                        pieces.Finish(transaction, held, LeaseRow.Find(transaction.Connection!, lease.Id));
                        row = Executions.Find(transaction.Connection!, held.Id)!;
                        if (evidence is not null && evidence.LogSize != row.LogSize && tries < MaxLogTries)
                        {
                            promotion.Record(transaction, evidence);
                            return (false, null);
                        }

                        var after = End(transaction, held, judged, evidence);
                        settlement.SettleSubscribers(transaction, held.Id);
                        return (true, after);
                    },
                    cancel
                );
                if (ended)
                {
                    return state;
                }
            }
            catch (Exception) when (evidence is { Blobs.Count: > 0 })
            {
                await DropAsync(evidence);
                throw;
            }
        }
    }

    // Blobs that no repository sees, which the collector takes away.
    private Task DropAsync(Evidence evidence) =>
        condemned.RecordAsync(
            evidence.Digests,
            transaction =>
            {
                promotion.Record(transaction, evidence);
                return true;
            },
            CancellationToken.None
        );

    private string? End(DbTransaction transaction, ExecutionRow row, Judged judged, Evidence? evidence)
    {
        var (result, product, fault, hash) = judged;
        var outcome = new ExecutionOutcome
        {
            Reason = result.Reason,
            Message = pieces.Mask(transaction.Connection!, row, result.Message),
            ExitCode = result.ExitCode,
            Steps = LeaseDesk.Steps(result.Steps),
            Confinement = LeaseDesk.Confinement(result.Confinement),
            ResultLease = row.Lease,
            ResultHash = hash,
        };
        if (evidence is not null)
        {
            promotion.Record(transaction, evidence);
        }

        if (
            product is not null
            && !row.Cancel
            && promotion.Refusal(transaction, row, product, evidence!) is { } refusal
        )
        {
            // Asked again it would be refused again.
            var denied = outcome with
            {
                Reason = FailureReasons.PolicyDenied,
                Message = refusal,
            };
            return executions.Move(transaction, row.Id, ExecutionEvent.Failed, denied);
        }

        if (product is not null && !row.Cancel)
        {
            outcome = promotion.Promote(transaction, row, product, evidence!, outcome, result);
            return executions.Move(transaction, row.Id, ExecutionEvent.Succeeded, outcome);
        }

        if (fault is not null)
        {
            log.Append(transaction, row.Id, Encoding.UTF8.GetBytes($"[the product was refused: {fault}]\n"));
            var refused = new ExecutionOutcome { Reason = FailureReasons.ResultInvalid, Message = fault };
            var (next, with) = attempts.Again(row, refused);
            return executions.Move(transaction, row.Id, next, with);
        }

        var (what, done) =
            row.Cancel ? (ExecutionEvent.Ended, outcome)
            : IsRetryable(result) ? attempts.Again(row, outcome)
            : (ExecutionEvent.Failed, outcome with { Reason = result.Reason ?? FailureReasons.SystemError });
        return executions.Move(transaction, row.Id, what, done);
    }

    // A node that gives up unasked has not cancelled anything; without a limit it could do so for ever.
    private static bool IsRetryable(LeaseResult result) =>
        result.State == BuildStates.Canceled || result is { Retryable: true, Reason: FailureReasons.SystemError };

    private async Task<ExecutionRow> BeginAsync(LeaseId lease, CancellationToken cancel)
    {
        var row = await database.WriteAsync(
            transaction =>
            {
                var held = desk.Held(transaction.Connection!, lease);
                // The log will be attached to the product: what was held back of it comes first.
                pieces.Finish(transaction, held, LeaseRow.Find(transaction.Connection!, lease.Id));
                Extend(transaction, lease, CompletionSeconds);
                return Executions.Find(transaction.Connection!, held.Id)!;
            },
            CancellationToken.None
        );
        cancel.ThrowIfCancellationRequested();
        return row;
    }

    // Without a number: to its ordinary length from now on.
    private void Extend(DbTransaction transaction, LeaseId lease, int? seconds) =>
        transaction.Run(
            "UPDATE executions SET lease_expires = @expires WHERE id = @id AND lease = @lease",
            ("id", lease.Execution),
            ("lease", lease.Id),
            (
                "expires",
                time.Milliseconds()
                    + ((seconds ?? LeaseRow.Find(transaction.Connection!, lease.Id)?.Seconds ?? 0) * 1000L)
            )
        );

    // The execution as an accepted result left it; null where none came under this lease.
    private ExecutionRow? Accepted(LeaseId lease, string hash)
    {
        var row = database.Read(c => Executions.Find(c, lease.Execution));
        if (row?.ResultLease != lease.Id)
        {
            return null;
        }

        return row.ResultHash == hash
            ? row
            : throw new OciException(
                BuildErrors.StateInvalid,
                $"another result was accepted under lease {lease.Id} already"
            );
    }

    private static string Hash(LeaseResult result) =>
        Convert.ToHexStringLower(
            SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(result, BuildJson.Default.LeaseResult))
        );

    // A result, and what was found of its product.
    private sealed record Judged(LeaseResult Result, Product? Product, string? Fault, string Hash);
}
