using System.Collections.Concurrent;
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
using Kiln.Server.Builds.Secrets;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Leases;

/// <summary>
/// Makes the login with which a build may read this registry for whoever asked for it; null where none is needed, or none
/// is due.
/// </summary>
internal delegate LeaseRegistry? RequesterLogin(DbConnection connection, string principal);

/// <summary>
/// The lease protocol: claim, heartbeat, log, result, give back. The lease's id is the fencing token: once it is lost,
/// by expiry or otherwise, every word under it is refused, even if nobody has taken over yet
/// (build-extension, "Lease protocol").
/// </summary>
internal sealed partial class LeaseDesk(
    Database database,
    Claims claims,
    Executions executions,
    Promotion promotion,
    ProductCheck check,
    Settlement settlement,
    BuildLog log,
    SecretVault secrets,
    Wakeups wakeups,
    RequesterLogin login,
    BuildOptions options,
    TimeProvider time
)
{
    // Reading a product's layers for hints may take long; the lease holds meanwhile.
    private const int CompletionSeconds = 600;
    private const int RetryDelaySeconds = 2;

    // A node hears of a cancel with the answer to a heartbeat, so that is never far away.
    private const int MaxHeartbeatSeconds = 2;
    private readonly ConcurrentDictionary<string, SecretMask> _masks = new(StringComparer.Ordinal);

    /// <summary>Waits up to <paramref name="wait"/> for work.</summary>
    public async Task<Lease?> ClaimAsync(LeaseClaim claim, bool local, TimeSpan wait, CancellationToken cancel)
    {
        var until = time.GetUtcNow() + wait;
        while (true)
        {
            var next = wakeups.Next(Wakeups.Queue);
            while (claims.Any(claim))
            {
                if (await claims.TakeAsync(claim, local, Begin, cancel) is { } lease)
                {
                    return lease;
                }
            }

            var left = until - time.GetUtcNow();
            if (left <= TimeSpan.Zero)
            {
                return null;
            }

            var pause = claims.UntilNext() is { } soon && soon < left ? soon : left;
            await wakeups.WaitAsync(next, pause, cancel);
        }
    }

    /// <summary>Extends the lease and notes what the build does.</summary>
    public Task<LeaseHeartbeatReply> HeartbeatAsync(Lease lease, LeaseHeartbeat beat, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var row = Held(transaction.Connection!, lease);
                transaction.Run(
                    """
                    UPDATE executions SET lease_expires = @expires, phase = COALESCE(@phase, phase),
                        progress = COALESCE(@progress, progress), steps = COALESCE(@steps, steps),
                        confinement = COALESCE(@confinement, confinement)
                    WHERE id = @id
                    """,
                    ("id", row.Id),
                    ("expires", Expiry(options.LeaseSeconds)),
                    ("phase", beat.Phase),
                    ("progress", Mask(lease).Apply(beat.Progress)),
                    ("steps", Steps(beat.Steps)),
                    ("confinement", Confinement(beat.Confinement))
                );
                if (Changes(row, beat))
                {
                    executions.Touch(transaction, row.Id);
                }

                return new LeaseHeartbeatReply { Canceled = row.Cancel };
            },
            cancel
        );

    /// <summary>Appends to the execution's log, with the values of secrets replaced.</summary>
    public Task AppendLogAsync(Lease lease, ReadOnlyMemory<byte> text, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var row = Held(transaction.Connection!, lease);
                var mask = Mask(lease);
                log.Append(transaction, row.Id, mask.Next(text));
                database.AfterCommit(transaction, mask.Advance);
            },
            cancel
        );

    /// <summary>Puts the execution back into the queue without using up an attempt.</summary>
    public async Task GiveBackAsync(Lease lease, CancellationToken cancel)
    {
        await database.WriteAsync(
            transaction =>
            {
                var row = Held(transaction.Connection!, lease);
                executions.Move(
                    transaction,
                    row.Id,
                    ExecutionEvent.Returned,
                    new ExecutionOutcome { CountsAttempt = false }
                );
                settlement.SettleSubscribers(transaction, row.Id);
            },
            cancel
        );
        _masks.TryRemove(lease.Id, out _);
    }

    /// <summary>
    /// Ends the lease with a result. The same result again is accepted again; another one under the same lease is not.
    /// </summary>
    /// <returns>Whether a product was published.</returns>
    /// <exception cref="OciException">A different result was accepted before: <c>BUILD_STATE_INVALID</c>.</exception>
    public async Task<bool> CompleteAsync(Lease lease, LeaseResult result, CancellationToken cancel)
    {
        var hash = Hash(result);
        if (Accepted(lease, hash) is { } before)
        {
            return before.State == BuildStates.Succeeded;
        }

        var row = await BeginCompletionAsync(lease, cancel);
        Product? product = null;
        string? fault = null;
        if (result.State == BuildStates.Succeeded && !row.Cancel)
        {
            (product, fault) = await check.CheckAsync(row, result, cancel);
        }

        var published = await database.WriteAsync(
            transaction =>
            {
                var held = Held(transaction.Connection!, lease);
                log.Append(transaction, held.Id, Mask(lease).Rest);
                var state = End(transaction, held, result, product, fault, hash);
                settlement.SettleSubscribers(transaction, held.Id);
                return state == BuildStates.Succeeded;
            },
            cancel
        );
        _masks.TryRemove(lease.Id, out _);
        return published;
    }

    /// <summary>
    /// Takes an execution away from its lease: back into the queue, or failed when its attempts are used up.
    /// </summary>
    public void Lose(DbTransaction transaction, ExecutionRow row, string why)
    {
        log.Append(transaction, row.Id, Encoding.UTF8.GetBytes($"[{why}]\n"));
        var (what, outcome) = Again(row, new ExecutionOutcome { Message = why });
        executions.Move(transaction, row.Id, what, outcome);
        settlement.SettleSubscribers(transaction, row.Id);
        database.AfterCommit(transaction, () => _masks.TryRemove(row.Lease ?? "", out _));
    }

    /// <summary>The execution that the lease holds.</summary>
    /// <exception cref="LeaseLostException">It does not hold it any more.</exception>
    public ExecutionRow Held(DbConnection connection, Lease lease)
    {
        var row = Executions.Find(connection, lease.Execution);
        return row?.Lease == lease.Id && row.LeaseExpires > time.Milliseconds()
            ? row
            : throw new LeaseLostException($"lease {lease.Id} of execution {lease.Execution} is lost");
    }

    private Lease? Begin(DbTransaction transaction, ExecutionRow row)
    {
        if (secrets.Of(transaction.Connection!, row.Id) is not { } values)
        {
            // It would stand at the head of the queue for ever, and nobody behind it would be built.
            var outcome = new ExecutionOutcome
            {
                Reason = FailureReasons.SystemError,
                Message = "the job's secrets cannot be opened with this server's key any more; upload them again",
            };
            executions.Move(transaction, row.Id, ExecutionEvent.Failed, outcome);
            settlement.SettleSubscribers(transaction, row.Id);
            return null;
        }

        database.AfterCommit(transaction, () => _masks[row.Lease!] = new SecretMask(values));
        var header = $"# attempt {row.Attempt} on {row.Node}, {row.Platform}\n";
        log.Append(transaction, row.Id, Encoding.UTF8.GetBytes(header));
        settlement.SettleSubscribers(transaction, row.Id);
        var task = JsonSerializer.Deserialize(row.Task, BuildJson.Default.LeaseTask)!;
        return new Lease
        {
            Id = row.Lease!,
            Execution = row.Id,
            Repository = Repositories.NameOf(transaction.Connection!, row.Repository).Value,
            Attempt = row.Attempt,
            HeartbeatSeconds = Math.Clamp(options.LeaseSeconds / 3, 1, MaxHeartbeatSeconds),
            Task = task with { Secrets = values.Count == 0 ? null : values },
            Registry = login(transaction.Connection!, row.RequestedBy),
        };
    }

    private string? End(
        DbTransaction transaction,
        ExecutionRow row,
        LeaseResult result,
        Product? product,
        string? fault,
        string hash
    )
    {
        var mask = _masks.GetValueOrDefault(row.Lease!);
        var outcome = new ExecutionOutcome
        {
            Reason = fault is null ? result.Reason : FailureReasons.ResultInvalid,
            Message = mask is null ? result.Message : mask.Apply(result.Message),
            ExitCode = result.ExitCode,
            Steps = Steps(result.Steps),
            Confinement = Confinement(result.Confinement),
            ResultLease = row.Lease,
            ResultHash = hash,
        };
        if (product is not null && !row.Cancel)
        {
            outcome = promotion.Promote(transaction, row, product, outcome, result.ResolvedDependencies);
            return executions.Move(transaction, row.Id, ExecutionEvent.Succeeded, outcome);
        }

        var (what, ended) =
            fault is not null ? (ExecutionEvent.Failed, outcome with { Message = fault })
            : row.Cancel ? (ExecutionEvent.Ended, outcome)
            : IsRetryable(result) ? Again(row, outcome)
            : (ExecutionEvent.Failed, outcome with { Reason = result.Reason ?? FailureReasons.SystemError });
        return executions.Move(transaction, row.Id, what, ended);
    }

    // A node that gives up unasked has not cancelled anything; without a limit it could do so for ever.
    private static bool IsRetryable(LeaseResult result) =>
        result.State == BuildStates.Canceled || result is { Retryable: true, Reason: FailureReasons.SystemError };

    private (ExecutionEvent What, ExecutionOutcome Outcome) Again(ExecutionRow row, ExecutionOutcome outcome)
    {
        if (row.Cancel || row.Attempt < options.MaxAttempts)
        {
            var delay = row.Attempt * RetryDelaySeconds * 1000L;
            return (ExecutionEvent.Returned, outcome with { NotBefore = time.Milliseconds() + delay });
        }

        var message = $"given up after {row.Attempt} attempts; the last one: {outcome.Message}";
        return (ExecutionEvent.Failed, outcome with { Reason = FailureReasons.AttemptsExhausted, Message = message });
    }

    private Task<ExecutionRow> BeginCompletionAsync(Lease lease, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var row = Held(transaction.Connection!, lease);
                transaction.Run(
                    "UPDATE executions SET lease_expires = @expires WHERE id = @id",
                    ("id", row.Id),
                    ("expires", Expiry(CompletionSeconds))
                );
                return row;
            },
            cancel
        );

    // The execution as an accepted result left it; null where none came under this lease.
    private ExecutionRow? Accepted(Lease lease, string hash)
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

    private SecretMask Mask(Lease lease) => _masks.GetOrAdd(lease.Id, _ => new SecretMask(lease.Task.Secrets ?? []));

    private long Expiry(int seconds) => time.Milliseconds() + (seconds * 1000L);

    private static bool Changes(ExecutionRow row, LeaseHeartbeat beat) =>
        (beat.Phase is not null && beat.Phase != row.Phase)
        || (beat.Progress is not null && beat.Progress != row.Progress)
        || (beat.Steps is not null && Steps(beat.Steps) != row.Steps)
        || (beat.Confinement is not null && row.Confinement is null);

    private static string Hash(LeaseResult result) =>
        Convert.ToHexStringLower(
            SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(result, BuildJson.Default.LeaseResult))
        );

    private static string? Steps(IReadOnlyList<BuildStep>? steps) =>
        steps is null ? null : JsonSerializer.Serialize(steps, BuildJson.Default.IReadOnlyListBuildStep);

    private static string? Confinement(BuildConfinement? confinement) =>
        confinement is null ? null : JsonSerializer.Serialize(confinement, BuildJson.Default.BuildConfinement);
}
