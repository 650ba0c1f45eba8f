using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
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

/// <summary>A lease as its credential shows it.</summary>
/// <param name="Repository">Into whose staging area it pushes.</param>
/// <param name="Job">The job under which the lease's address is.</param>
/// <param name="Requester">Who asked for the build.</param>
/// <param name="Expires">In Unix milliseconds; null where it is over.</param>
internal sealed record LeaseStanding(
    string Id,
    string Execution,
    string Job,
    string Repository,
    string Requester,
    string StagingTag,
    long? Expires
);

/// <summary>
/// The lease protocol: claim, heartbeat, log, give back; results are in <see cref="LeaseResults"/>. The lease's id is the
/// fencing token: once it is lost, by expiry or otherwise, every word under it is refused, even if nobody has taken over
/// yet (build-extension, "Leases").
/// </summary>
internal sealed class LeaseDesk(
    Database database,
    Claims claims,
    Builders builders,
    Executions executions,
    Settlement settlement,
    Attempts attempts,
    LeaseLog pieces,
    BuildLog log,
    SecretVault secrets,
    Wakeups wakeups,
    RequesterLogin login,
    BasePlaces places,
    TimeProvider time
)
{
    private const int SecretBytes = 32;

    // A node hears of a cancel with the answer to a heartbeat, so that is never far away.
    private const int MaxHeartbeatSeconds = 5;
    private const int MaxLocalHeartbeatSeconds = 2;

    /// <summary>Waits up to <paramref name="wait"/> for work.</summary>
    /// <exception cref="OciException">The claim's key was used for another claim, or its lease is lost.</exception>
    public async Task<Lease?> ClaimAsync(LeaseClaim claim, Claimant by, TimeSpan wait, CancellationToken cancel)
    {
        claim = builders.Taken(claim);
        var until = new Deadline(time, wait);
        if (by.Repeatable is not null && await RepeatAsync(by, cancel) is { } before)
        {
            return before;
        }

        while (true)
        {
            var next = wakeups.Next(Wakeups.Queue);
            while (claims.Any(claim, by))
            {
                if (await TakeAsync(claim, by, cancel) is { } lease)
                {
                    return lease;
                }
            }

            var left = until.Left;
            // The local node is ended by its host; one elsewhere would hold the server's end up.
            if (left <= TimeSpan.Zero || (wakeups.IsStopping && !by.Local))
            {
                return null;
            }

            var pause = claims.UntilNext() is { } soon && soon < left ? soon : left;
            await wakeups.WaitAsync(next, pause, cancel);
        }
    }

    /// <summary>Extends the lease and notes what the build does.</summary>
    public Task<LeaseHeartbeatReply> HeartbeatAsync(LeaseId lease, LeaseHeartbeat beat, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var row = Held(transaction.Connection!, lease);
                var seconds = LeaseRow.Find(transaction.Connection!, lease.Id)!.Seconds;
                if (beat.LeaseSeconds is { } asked)
                {
                    seconds = claims.Seconds(asked);
                    LeaseRow.SetSeconds(transaction, lease.Id, seconds);
                }

                var expires = time.GetUtcNow().AddSeconds(seconds);
                transaction.Run(
                    """
                    UPDATE executions SET lease_expires = @expires, phase = COALESCE(@phase, phase),
                        progress = COALESCE(@progress, progress), steps = COALESCE(@steps, steps),
                        confinement = COALESCE(@confinement, confinement)
                    WHERE id = @id
                    """,
                    ("id", row.Id),
                    ("expires", expires.ToUnixTimeMilliseconds()),
                    ("phase", beat.Phase),
                    ("progress", pieces.Mask(transaction.Connection!, row, beat.Progress)),
                    ("steps", Steps(beat.Steps)),
                    ("confinement", Confinement(beat.Confinement))
                );
                if (Changes(row, beat))
                {
                    executions.Touch(transaction, row.Id);
                }

                return new LeaseHeartbeatReply { Canceled = row.Cancel, Expires = expires };
            },
            cancel
        );

    /// <inheritdoc cref="LeaseLog.Append"/>
    public Task<(long Received, bool Full)> AppendLogAsync(
        LeaseId lease,
        long? start,
        ReadOnlyMemory<byte> text,
        CancellationToken cancel
    ) =>
        database.WriteAsync(
            transaction =>
            {
                var row = Held(transaction.Connection!, lease);
                var mine = LeaseRow.Find(transaction.Connection!, lease.Id)!;
                return pieces.Append(transaction, row, mine, start, text);
            },
            cancel
        );

    /// <summary>Bytes of log that came under the lease.</summary>
    public long Received(LeaseId lease) =>
        database.Read(c =>
        {
            Held(c, lease);
            return LeaseRow.Find(c, lease.Id)!.Received;
        });

    /// <summary>Puts the execution back into the queue without using up an attempt.</summary>
    public Task GiveBackAsync(LeaseId lease, CancellationToken cancel) =>
        database.WriteAsync(
            transaction => attempts.GiveBack(transaction, Held(transaction.Connection!, lease)),
            cancel
        );

    /// <summary>The execution that the lease holds.</summary>
    /// <exception cref="LeaseLostException">It does not hold it any more.</exception>
    public ExecutionRow Held(DbConnection connection, LeaseId lease)
    {
        var row = Executions.Find(connection, lease.Execution);
        return row?.Lease == lease.Id && row.LeaseExpires > time.Milliseconds()
            ? row
            : throw new LeaseLostException($"lease {lease.Id} is lost; whatever is said under it counts for nothing");
    }

    /// <summary>Whether a blob is the recipe or a context of an execution.</summary>
    public bool IsInput(string execution, Digest digest)
    {
        if (database.Read(c => Executions.Find(c, execution)) is not { } row)
        {
            return false;
        }

        var task = JsonSerializer.Deserialize(row.Task, BuildJson.Default.LeaseTask)!;
        return task.Recipe.Digest == digest
            || task.Contexts.Any(c => c.Blob.Digest == digest)
            || (
                task.RecipeType == RecipeTypes.Image
                && ManifestReader.Read(task.Recipe.Data, task.Recipe.MediaType, out _) is { } image
                && image.Layers.Append(image.Config).Any(blob => blob?.Digest == digest)
            );
    }

    /// <summary>The lease of a credential, also one that is over.</summary>
    public LeaseStanding? StandingOf(string secret) =>
        database.Read(c =>
        {
            if (
                LeaseRow.OfSecret(c, secret) is not { } lease
                || Executions.Find(c, lease.Execution) is not { } execution
            )
            {
                return null;
            }

            return new LeaseStanding(
                lease.Id,
                lease.Execution,
                lease.Job,
                Repositories.NameOf(c, execution.Repository).Value,
                execution.RequestedBy,
                StagingTag(lease),
                execution.Lease == lease.Id ? execution.LeaseExpires : null
            );
        });

    public static string? Steps(IReadOnlyList<BuildStep>? steps) =>
        steps is null ? null : JsonSerializer.Serialize(steps, BuildJson.Default.IReadOnlyListBuildStep);

    public static string? Confinement(BuildConfinement? confinement) =>
        confinement is null ? null : JsonSerializer.Serialize(confinement, BuildJson.Default.BuildConfinement);

    private Task<Lease?> TakeAsync(LeaseClaim claim, Claimant by, CancellationToken cancel) =>
        database.WriteAsync(
            transaction => claims.Take(transaction, claim, by) is { } claimed ? Begin(transaction, claimed) : null,
            cancel
        );

    // The lease that an earlier try of the same claim got, whose answer was lost. Its credential is a new one: the old one
    // is kept nowhere.
    private Task<Lease?> RepeatAsync(Claimant by, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                var (key, hash) = by.Repeatable!.Value;
                if (LeaseRow.OfClaim(transaction.Connection!, by.Name, key) is not { } lease)
                {
                    return null;
                }

                if (lease.ClaimHash != hash)
                {
                    throw new OciException(
                        BuildErrors.IdempotencyConflict,
                        "this Idempotency-Key was used for another claim; use a new one for each"
                    );
                }

                var row = Held(transaction.Connection!, lease.Key);
                var secret = NewSecret();
                LeaseRow.SetSecret(transaction, lease.Id, secret);
                return Describe(transaction, row, secret, secrets.Of(transaction.Connection!, row.Id) ?? []);
            },
            cancel
        );

    private Lease? Begin(DbTransaction transaction, Claimed claimed)
    {
        var row = claimed.Execution;
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

        var secret = claimed.By.Local ? null : NewSecret();
        LeaseRow.Insert(transaction, claimed, secret, time.Milliseconds());
        var emulated = row.Emulated ? ", emulated" : "";
        var header = $"# attempt {row.Attempt} on {row.Node}, {row.Platform}{emulated}\n";
        log.Append(transaction, row.Id, Encoding.UTF8.GetBytes(header));
        settlement.SettleSubscribers(transaction, row.Id);
        return Describe(transaction, row, secret, values);
    }

    private Lease Describe(
        DbTransaction transaction,
        ExecutionRow row,
        string? secret,
        IReadOnlyList<LeaseSecret> values
    )
    {
        var lease = LeaseRow.Find(transaction.Connection!, row.Lease!)!;
        var task = JsonSerializer.Deserialize(row.Task, BuildJson.Default.LeaseTask)!;
        var repository = Repositories.NameOf(transaction.Connection!, row.Repository);
        var expires = DateTimeOffset.FromUnixTimeMilliseconds(row.LeaseExpires!.Value);
        var readable = login(transaction.Connection!, row.RequestedBy);
        return new Lease
        {
            Id = row.Lease!,
            Execution = row.Id,
            Repository = repository.Value,
            Attempt = row.Attempt,
            HeartbeatSeconds = Math.Clamp(
                lease.Seconds / 3,
                1,
                secret is null ? MaxLocalHeartbeatSeconds : MaxHeartbeatSeconds
            ),
            Job = Ids.JobPath(repository, lease.Job),
            TaskId = lease.Task,
            Expires = expires,
            Task = task with { Secrets = values.Count == 0 ? null : values },
            Bases = places.Bases,
            Push = secret is null
                ? null
                : new LeasePush
                {
                    // Under which name the node reached the registry, its request says.
                    Registry = "",
                    Repository = repository.Value,
                    StagingTag = StagingTag(lease),
                },
            Auth = secret is null ? null : AuthOf(secret, expires),
            // A node elsewhere reads with the lease's own credential, which ends with it.
            Registry = secret is null || readable is null ? readable : readable with { Token = secret },
        };
    }

    /// <summary>A credential as it is told to its node.</summary>
    public static LeaseAuth AuthOf(string secret, DateTimeOffset expires) =>
        new()
        {
            Token = secret,
            Username = LeaseAuth.LoginName,
            Password = secret,
            Expires = expires,
        };

    private static string StagingTag(LeaseRow lease) => $"build-{lease.Job}-{lease.Task}-{lease.Id}";

    private static string NewSecret() =>
        LeaseAuth.Prefix + System.Buffers.Text.Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(SecretBytes));

    private static bool Changes(ExecutionRow row, LeaseHeartbeat beat) =>
        (beat.Phase is not null && beat.Phase != row.Phase)
        || (beat.Progress is not null && beat.Progress != row.Progress)
        || (beat.Steps is not null && Steps(beat.Steps) != row.Steps)
        || (beat.Confinement is not null && row.Confinement is null);
}
