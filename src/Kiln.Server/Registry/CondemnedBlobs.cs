using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Kiln.Server.Storage;

namespace Kiln.Server.Registry;

/// <summary>
/// How a blob leaves while others may be storing it again (docs/adr/0040-collecting-while-serving.md). One that no
/// repository sees, and that is no manifest's copy, is condemned; when its time is up and it is still unused, its row goes and it is being deleted; then its
/// bytes go, and a mark stays for a day. Whoever stores bytes records them in a transaction that looks for the mark, so that
/// a row never stands for bytes that somebody is about to take away.
/// </summary>
internal sealed class CondemnedBlobs(Database database, IBlobStore store, ServerPresence presence, TimeProvider time)
{
    /// <summary>How long marks stay. A push has to record its bytes within this time of storing them.</summary>
    public static readonly TimeSpan MarkLifetime = TimeSpan.FromDays(1);

    /// <summary>How long the deletion of bytes may take; it is given up then, and is another try's.</summary>
    public static readonly TimeSpan DeletionTimeout = TimeSpan.FromSeconds(30);

    /// <summary>
    /// When another server may take a deletion over, since its own did not end it and is alive as far as is known: many times
    /// the timeout.
    /// </summary>
    public static readonly TimeSpan TakeOverAfter = TimeSpan.FromMinutes(5);

    /// <summary>The same of a server that gives no sign of life: one that was only slow has given the deletion up by then.</summary>
    public static readonly TimeSpan TakeOverFromDeadAfter = 4 * DeletionTimeout;

    private const string IsCondemned = "condemned";
    private const string IsBeingDeleted = "deleting";
    private const string IsDeleted = "deleted";

    private const int Patience = 300;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    // SERVER/PROCESS: deletions that this process began and did not end are over when it is.
    private readonly string _owner = $"{presence.Self}/{NewId()}";

    /// <summary>Takes a blob out of the collector's sight: somebody uses it again.</summary>
    public static void Rescue(DbTransaction transaction, Digest digest) =>
        transaction.Run(
            "DELETE FROM condemned_blobs WHERE digest = @digest AND state = 'condemned'",
            ("digest", digest.ToString())
        );

    /// <summary>
    /// To be called before bytes are stored: puts off their deletion, or waits until it is over.
    /// </summary>
    /// <exception cref="OciException"><c>UNAVAILABLE</c>, 503: it is not over after half a minute.</exception>
    public async Task PrepareAsync(Digest digest, CancellationToken cancel)
    {
        for (var tries = 0; Find(digest) is { } row && row.State != IsDeleted; tries++)
        {
            if (row.State == IsCondemned)
            {
                await database.WriteAsync(transaction => Rescue(transaction, digest), cancel);
            }
            else if (!await TakeOverAsync(row, cancel))
            {
                await WaitAsync(digest, tries, cancel);
            }
        }
    }

    /// <summary>Runs a transaction that records blobs whose bytes were just stored.</summary>
    /// <exception cref="OciException">
    /// <c>UNAVAILABLE</c>, 503: bytes were deleted after they were stored. Only where storing them took longer than what is
    /// condemned stays.
    /// </exception>
    public async Task<T> RecordAsync<T>(
        IReadOnlyList<Digest> digests,
        Func<DbTransaction, T> work,
        CancellationToken cancel
    )
    {
        var seen = new Dictionary<Digest, string>();
        for (var tries = 0; ; tries++)
        {
            Condemned? met = null;
            T? result = default;
            await database.WriteAsync(
                transaction =>
                {
                    met = Clear(transaction, digests, seen);
                    result = met is null ? work(transaction) : default;
                },
                cancel
            );
            if (met is null)
            {
                return result!;
            }

            if (met.State == IsBeingDeleted)
            {
                if (!await TakeOverAsync(met, cancel))
                {
                    await WaitAsync(met.Digest, tries, cancel);
                }
            }
            else if (await store.SizeAsync(met.Digest, cancel) is null)
            {
                throw Unavailable(met.Digest);
            }
            else
            {
                // The deletion was over before these bytes came: nobody else takes them away.
                seen[met.Digest] = met.Sweep;
            }
        }
    }

    /// <summary>Refuses to record a blob that somebody is deleting, or has deleted after it was stored.</summary>
    /// <exception cref="OciException"><c>UNAVAILABLE</c>, 503.</exception>
    public static void RequireNone(DbTransaction transaction, Digest digest)
    {
        if (Find(transaction.Connection!, digest) is { } row && row.State != IsCondemned)
        {
            throw Unavailable(digest);
        }
    }

    /// <summary>Condemns a blob that no repository sees; one that is condemned stays as it is.</summary>
    public void Condemn(DbTransaction transaction, Digest digest) =>
        transaction.Run(
            """
            INSERT INTO condemned_blobs (digest, state, since, sweep, owner) VALUES (@digest, 'condemned', @now, '', '')
            ON CONFLICT DO NOTHING
            """,
            ("digest", digest.ToString()),
            ("now", time.Milliseconds())
        );

    /// <summary>
    /// Takes the row of a blob away that is condemned since before a time and still unused, with what is known of its
    /// content. Its bytes have to go next: <see cref="FinishAsync"/>.
    /// </summary>
    /// <returns>What to finish; null where it is in use again.</returns>
    public Condemned? Begin(DbTransaction transaction, Digest digest, DateTimeOffset before)
    {
        var row = Find(transaction.Connection!, digest);
        if (row?.State != IsCondemned || row.Since > before.ToUnixTimeMilliseconds() || IsUsed(transaction, digest))
        {
            return null;
        }

        foreach (var table in new[] { "blobs", "layer_facts", "context_trees" })
        {
            transaction.Run($"DELETE FROM {table} WHERE digest = @digest", ("digest", digest.ToString()));
        }

        return Claim(transaction, row);
    }

    /// <summary>Deletes the bytes of a blob whose deletion this server has begun.</summary>
    /// <returns>Whether they are gone; otherwise another try has to follow.</returns>
    public async Task<bool> FinishAsync(Condemned row, CancellationToken cancel)
    {
        // Measured here and not by the row: clocks of servers differ.
        using var timeout = new CancellationTokenSource(DeletionTimeout, TimeProvider.System);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancel);
        await store.DeleteAsync(row.Digest, either.Token);
        if (timeout.IsCancellationRequested)
        {
            return false;
        }

        var ended = await database.WriteAsync(
            transaction =>
                transaction.Run(
                    """
                    UPDATE condemned_blobs SET state = 'deleted', since = @now
                    WHERE digest = @digest AND state = 'deleting' AND sweep = @sweep
                    """,
                    ("digest", row.Digest.ToString()),
                    ("sweep", row.Sweep),
                    ("now", time.Milliseconds())
                ),
            CancellationToken.None
        );
        return ended == 1;
    }

    /// <summary>As <see cref="FinishAsync"/>, for one of several: that one cannot be deleted keeps no other from being.</summary>
    /// <returns>Null where the bytes are gone; else why not, as a sentence.</returns>
    public async Task<string?> TryFinishAsync(Condemned row)
    {
        try
        {
            // Begun is to be ended: until then nobody can push it.
            return await FinishAsync(row, CancellationToken.None) ? null : "another server has taken its deletion over";
        }
        catch (Exception e)
        {
            return Why(e);
        }
    }

    /// <summary>Deletions that were begun and not ended by servers that are gone, or too slow.</summary>
    /// <returns>Those that failed again, with the reason.</returns>
    public async Task<IReadOnlyList<(Digest Digest, string Why)>> ResumeAsync(CancellationToken cancel)
    {
        var failed = new List<(Digest, string)>();
        var begun = database.Read(c =>
            c.Query(
                "SELECT digest, state, since, sweep, owner FROM condemned_blobs WHERE state = 'deleting'",
                Condemned.Map
            )
        );
        foreach (var row in begun)
        {
            try
            {
                await TakeOverAsync(row, cancel);
            }
            catch (Exception e) when (!cancel.IsCancellationRequested)
            {
                failed.Add((row.Digest, Why(e)));
            }
        }

        return failed;
    }

    /// <summary>Forgets marks of what was deleted more than a day ago.</summary>
    public Task ForgetAsync(CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
                transaction.Run(
                    "DELETE FROM condemned_blobs WHERE state = 'deleted' AND since < @before",
                    ("before", (time.GetUtcNow() - MarkLifetime).ToUnixTimeMilliseconds())
                ),
            cancel
        );

    private static bool IsUsed(DbTransaction transaction, Digest digest) =>
        transaction.Scalar<long?>(
            """
            SELECT 1 FROM repository_blobs WHERE digest = @digest
            UNION ALL SELECT 1 FROM lease_blobs WHERE digest = @digest
            UNION ALL SELECT 1 FROM manifests WHERE digest = @digest LIMIT 1
            """,
            ("digest", digest.ToString())
        )
            is not null;

    // What is in the way of recording blobs; null where nothing is (any more).
    private static Condemned? Clear(
        DbTransaction transaction,
        IReadOnlyList<Digest> digests,
        Dictionary<Digest, string> seen
    )
    {
        var rows = digests.Select(digest => Find(transaction.Connection!, digest)).OfType<Condemned>().ToList();
        if (rows.Find(row => row.State != IsCondemned && seen.GetValueOrDefault(row.Digest) != row.Sweep) is { } met)
        {
            return met;
        }

        foreach (var row in rows)
        {
            transaction.Run("DELETE FROM condemned_blobs WHERE digest = @digest", ("digest", row.Digest.ToString()));
        }

        return null;
    }

    private static string Why(Exception e) =>
        e is OperationCanceledException ? $"it was not done within {DeletionTimeout.TotalSeconds:0} s" : e.Message;

    private static string NewId() => Guid.NewGuid().ToString("n");

    private Condemned Claim(DbTransaction transaction, Condemned row)
    {
        var claimed = row with { State = IsBeingDeleted, Since = time.Milliseconds(), Sweep = NewId(), Owner = _owner };
        transaction.Run(
            """
            UPDATE condemned_blobs SET state = 'deleting', since = @now, sweep = @sweep, owner = @owner
            WHERE digest = @digest
            """,
            ("digest", row.Digest.ToString()),
            ("now", claimed.Since),
            ("sweep", claimed.Sweep),
            ("owner", claimed.Owner)
        );
        return claimed;
    }

    // Only of an owner that cannot be deleting any more.
    private async Task<bool> TakeOverAsync(Condemned row, CancellationToken cancel)
    {
        if (row.Owner == _owner)
        {
            return IsOlder(row, TakeOverAfter) && await FinishAsync(row, cancel);
        }

        if (database.IsShared && !MayTakeOver(row))
        {
            return false;
        }

        var claimed = await database.WriteAsync(
            transaction =>
                Find(transaction.Connection!, row.Digest) is { State: IsBeingDeleted } now && now.Sweep == row.Sweep
                    ? Claim(transaction, now)
                    : null,
            cancel
        );
        return claimed is not null && await FinishAsync(claimed, cancel);
    }

    private bool MayTakeOver(Condemned row)
    {
        var server = row.Owner.Split('/')[0];
        // An earlier process of this server is gone: its data directory has one at a time.
        return server == presence.Self
            || IsOlder(row, TakeOverAfter)
            || (IsOlder(row, TakeOverFromDeadAfter) && !database.Read(c => presence.IsAlive(c, server)));
    }

    private bool IsOlder(Condemned row, TimeSpan age) => row.Since <= (time.GetUtcNow() - age).ToUnixTimeMilliseconds();

    private async Task WaitAsync(Digest digest, int tries, CancellationToken cancel)
    {
        if (tries >= Patience)
        {
            throw Unavailable(digest);
        }

        await Task.Delay(Pause, TimeProvider.System, cancel);
    }

    private Condemned? Find(Digest digest) => database.Read(c => Find(c, digest));

    private static Condemned? Find(DbConnection connection, Digest digest) =>
        connection
            .Query(
                "SELECT digest, state, since, sweep, owner FROM condemned_blobs WHERE digest = @digest",
                Condemned.Map,
                ("digest", digest.ToString())
            )
            .FirstOrDefault();

    private static OciException Unavailable(Digest digest) =>
        new(
            ErrorCodes.Unavailable,
            $"the blob {digest} is being removed by garbage collection at this moment; push it again in a few seconds"
        );

    /// <summary>A row of <c>condemned_blobs</c>.</summary>
    internal sealed record Condemned(Digest Digest, string State, long Since, string Sweep, string Owner)
    {
        public static Condemned Map(DbDataReader row) =>
            new(Digest.Parse(row.GetString(0)), row.GetString(1), row.GetInt64(2), row.GetString(3), row.GetString(4));
    }
}
