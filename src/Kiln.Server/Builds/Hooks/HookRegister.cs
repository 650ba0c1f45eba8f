using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Secrets;
using Kiln.Server.Delivery;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;

namespace Kiln.Server.Builds.Hooks;

/// <summary>The hooks that users have registered.</summary>
internal sealed class HookRegister(
    Database database,
    Repositories repositories,
    SecretVault secrets,
    HookAddresses addresses,
    Sender sender,
    Outbox outbox,
    EventOptions options,
    TimeProvider time
)
{
    /// <summary>Registers a hook, once its receiver has said that it wants events from here.</summary>
    /// <param name="origin">Scheme and authority under which the registry is known to who registers it.</param>
    /// <returns>The hook, with its secret where it was made here.</returns>
    /// <exception cref="OciException"><c>BUILD_HOOK_INVALID</c>, or 429 at a limit.</exception>
    public async Task<Hook> AddAsync(
        RepositoryName repository,
        Hook wanted,
        string createdBy,
        string origin,
        CancellationToken cancel
    )
    {
        var url = HookRules.Require(wanted);
        var secret = wanted.Secret ?? Signature.NewSecret();
        var key = Signature.Parse(secret) ?? throw HookRules.Invalid("secret is whsec_ and base64 of 24 to 64 bytes");
        database.Read(c =>
        {
            RequireRoom(c, Repositories.Find(c, repository) ?? 0, repository);
            return true;
        });
        if (await addresses.RefusalAsync(url, cancel) is { } refusal)
        {
            throw HookRules.Invalid($"url cannot be used: {refusal}");
        }

        var target = HookTargets.Target(wanted.Url, origin, key);
        var (perMinute, unwilling) = await sender.AskAsync(target, cancel);
        if (unwilling is not null)
        {
            throw HookRules.Invalid(
                $"the receiver does not say that it wants events from {target.Origin}: it {unwilling}"
            );
        }

        var id = Ids.New(time);
        var row = await database.WriteAsync(
            transaction =>
            {
                var owner = repositories.Ensure(transaction, repository);
                MakeRoom(transaction, owner);
                RequireRoom(transaction.Connection!, owner, repository);
                Outbox.Register(transaction, HookRow.TargetOf(id), wanted.Url);
                Insert(
                    transaction,
                    id,
                    owner,
                    wanted,
                    secrets.Seal(HookRow.TargetOf(id), key),
                    origin,
                    perMinute,
                    createdBy
                );
                return HookRow.Find(transaction.Connection!, id)!;
            },
            cancel
        );
        return row.View() with { Secret = wanted.Secret is null ? secret : null };
    }

    /// <summary>The hooks of a repository.</summary>
    public IReadOnlyList<Hook> Of(RepositoryName repository) =>
        database.Read(c =>
            Repositories.Find(c, repository) is { } id ? HookRow.Of(c, id).ConvertAll(row => row.View()) : []
        );

    /// <summary>Removes a hook and what waits for it.</summary>
    /// <returns>False where the repository has no such hook.</returns>
    public Task<bool> RemoveAsync(RepositoryName repository, string id, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                if (!Has(transaction, repository, id))
                {
                    return false;
                }

                Remove(transaction, id);
                return true;
            },
            cancel
        );

    /// <summary>Tells a hook's receiver nothing in particular.</summary>
    /// <returns>False where the repository has no such hook.</returns>
    public Task<bool> PingAsync(RepositoryName repository, string id, CancellationToken cancel) =>
        database.WriteAsync(
            transaction =>
            {
                if (!Has(transaction, repository, id))
                {
                    return false;
                }

                var row = HookRow.Find(transaction.Connection!, id)!;
                var told = Ids.New(time);
                var body = JobEvents.Ping(told, row, repository, time.GetUtcNow());
                outbox.Add(transaction, row.Target, told, body);
                return true;
            },
            cancel
        );

    private static bool Has(DbTransaction transaction, RepositoryName repository, string id) =>
        Repositories.Find(transaction.Connection!, repository) is { } key
        && HookRow.Of(transaction.Connection!, key).Exists(row => row.Id == id);

    private static void Remove(DbTransaction transaction, string id)
    {
        transaction.Run("DELETE FROM hooks WHERE id = @id", ("id", id));
        Outbox.Remove(transaction, HookRow.TargetOf(id));
    }

    // Hooks that wanted nothing more stay, so that their owners can see why, until another needs their room.
    private void MakeRoom(DbTransaction transaction, long key)
    {
        if (Count(transaction.Connection!, key, stopped: true).Here >= options.MaxHooks)
        {
            RemoveStopped(transaction, "h.repository = @repository", key);
        }

        if (Count(transaction.Connection!, key, stopped: true).All >= options.MaxHooksInAll)
        {
            RemoveStopped(transaction, "@repository <> 0", key);
        }
    }

    private static void RemoveStopped(DbTransaction transaction, string which, long key)
    {
        var longest = transaction.Scalar<string>(
            $"""
            SELECT h.id FROM hooks h JOIN delivery_targets t ON t.id = '{HookTargets.IdPrefix}' || h.id
            WHERE t.stopped IS NOT NULL AND {which} ORDER BY t.stopped LIMIT 1
            """,
            ("repository", key)
        );
        if (longest is not null)
        {
            Remove(transaction, longest);
        }
    }

    private static (long Here, long All) Count(DbConnection connection, long key, bool stopped) =>
        connection.Query(
            $"""
            SELECT COUNT(CASE WHEN h.repository = @repository THEN 1 END), COUNT(*)
            FROM hooks h LEFT JOIN delivery_targets t ON t.id = '{HookTargets.IdPrefix}' || h.id
            WHERE @stopped = 1 OR t.stopped IS NULL
            """,
            row => (row.GetInt64(0), row.GetInt64(1)),
            ("repository", key),
            ("stopped", stopped ? 1 : 0)
        )[0];

    private void RequireRoom(DbConnection connection, long key, RepositoryName repository)
    {
        var (here, all) = Count(connection, key, stopped: false);
        if (here >= options.MaxHooks || all >= options.MaxHooksInAll)
        {
            throw new OciException(
                ErrorCodes.TooManyRequests,
                here >= options.MaxHooks
                    ? $"{repository} has {here} hooks, which is the limit; delete one"
                    : $"there are {all} hooks in this registry, which is the limit; ask its operators"
            );
        }
    }

    private void Insert(
        DbTransaction transaction,
        string id,
        long repository,
        Hook hook,
        byte[] secret,
        string origin,
        int? perMinute,
        string createdBy
    ) =>
        transaction.Run(
            """
            INSERT INTO hooks (id, repository, url, events, filter, secret, origin, per_minute, created_by, created)
            VALUES (@id, @repository, @url, @events, @filter, @secret, @origin, @rate, @by, @now)
            """,
            ("id", id),
            ("repository", repository),
            ("url", hook.Url),
            (
                "events",
                JsonSerializer.Serialize(hook.Events ?? [HookEvents.Queued], BuildJson.Default.IReadOnlyListString)
            ),
            (
                "filter",
                hook.Filter is null ? null : JsonSerializer.Serialize(hook.Filter, BuildJson.Default.HookFilter)
            ),
            ("secret", secret),
            ("origin", origin),
            ("rate", perMinute),
            ("by", createdBy),
            ("now", time.Milliseconds())
        );
}
