using System.Collections.Concurrent;
using System.Data.Common;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Kiln.Oci;
using Kiln.Server.Access.Policies;
using Kiln.Server.Configuration;
using Kiln.Server.Metadata;

namespace Kiln.Server.Access.Tokens;

/// <summary>What a machine token allows.</summary>
internal sealed record TokenGrant(
    [property: JsonPropertyName("repositories")] IReadOnlyList<string> Repositories,
    [property: JsonPropertyName("actions")] IReadOnlyList<string> Actions
);

/// <summary>A machine token, without its secret.</summary>
internal sealed record MachineToken(
    string Id,
    string Name,
    TokenGrant Grant,
    DateTimeOffset Created,
    string CreatedBy,
    DateTimeOffset? Expires,
    DateTimeOffset? LastUsed
)
{
    /// <summary>Whose requests are made with it.</summary>
    public Principal Principal { get; } =
        new($"token:{Name}")
        {
            Kind = PrincipalKind.Machine,
            TokenId = Id,
            Grants = [MachineTokens.Read(Grant)],
        };
}

/// <summary>
/// Tokens for machines: issued by an operator, for some repositories and actions, until some day or until they are
/// revoked. Their secret is told once and kept as a hash.
/// </summary>
internal sealed partial class MachineTokens
{
    /// <summary>By which a secret is known, for people and for scanners of leaked secrets.</summary>
    public const string Prefix = "kiln_";

    private const int SecretBytes = 32;
    private const int MaxTokens = 10_000;
    private const int MaxCached = 10_000;
    private const string Columns = "id, name, grants, created, created_by, expires, last_used";

    // Every server hears of a revocation with its commit. One whose connection for that is broken goes by this.
    private static readonly TimeSpan Trust = TimeSpan.FromSeconds(2);
    private const string Revoked = "access-tokens";
    private static readonly TimeSpan UseInterval = TimeSpan.FromMinutes(1);

    private readonly ConcurrentDictionary<string, (MachineToken Token, DateTimeOffset Until)> _cache = new(
        StringComparer.Ordinal
    );

    private readonly Database _database;
    private readonly TimeProvider _time;
    private int _revocations;

    public MachineTokens(Database database, TimeProvider time)
    {
        (_database, _time) = (database, time);
        database.Listen(Hear);
    }

    /// <summary>Whether a text has the form of a secret.</summary>
    public static bool IsSecret(string text) => Secret().IsMatch(text);

    /// <summary>A grant as patterns and rights.</summary>
    /// <exception cref="OciException">Something in it is wrong.</exception>
    public static Grant Read(TokenGrant grant)
    {
        if (grant.Repositories.Count is 0 or > 100 || grant.Actions.Count is 0 or > 10)
        {
            throw Invalid("a token needs 1 to 100 repository patterns and at least one action");
        }

        var rights = Rights.None;
        foreach (var action in grant.Actions)
        {
            rights |=
                RightNames.Parse(action)?.Complete()
                ?? throw Invalid($"'{action}' is no action; there are {RightNames.List}");
        }

        var patterns = new List<RepositoryPattern>();
        foreach (var text in grant.Repositories)
        {
            if (text.Contains("{user}", StringComparison.Ordinal))
            {
                throw Invalid("a token is nobody's, so {user} means nothing in its patterns");
            }

            patterns.Add(
                RepositoryPattern.TryParse(text, out var pattern, out var fault)
                    ? pattern
                    : throw Invalid($"the pattern '{text}' {fault}")
            );
        }

        return new Grant(patterns, rights);
    }

    /// <summary>Makes a token.</summary>
    /// <returns>It, and its secret, which nobody can tell again.</returns>
    /// <exception cref="OciException">The name is taken or wrong, or the grant is.</exception>
    public Task<(MachineToken Token, string Secret)> IssueAsync(
        string name,
        TokenGrant grant,
        DateTimeOffset? expires,
        string by,
        CancellationToken cancel
    )
    {
        if (!TokenName().IsMatch(name))
        {
            throw Invalid("a token's name has up to 64 lower-case letters, digits and single . _ - between them");
        }

        Read(grant);
        var now = _time.GetUtcNow();
        if (expires <= now)
        {
            throw Invalid("a token must not have expired already when it is issued");
        }

        var secret = Prefix + Base64Url(RandomNumberGenerator.GetBytes(SecretBytes));
        var token = new MachineToken(Guid.CreateVersion7(now).ToString("n"), name, grant, now, by, expires, null);
        return _database.WriteAsync(
            transaction =>
            {
                CheckRoom(transaction, name);
                transaction.Run(
                    """
                    INSERT INTO access_tokens (id, name, hash, grants, created, created_by, expires)
                    VALUES (@id, @name, @hash, @grants, @created, @by, @expires)
                    """,
                    ("id", token.Id),
                    ("name", name),
                    ("hash", Hash(secret)),
                    ("grants", JsonSerializer.Serialize(grant, MachineTokenJson.Default.TokenGrant)),
                    ("created", now.ToUnixTimeMilliseconds()),
                    ("by", by),
                    ("expires", expires?.ToUnixTimeMilliseconds())
                );
                return (token, secret);
            },
            cancel
        );
    }

    /// <summary>All tokens, by name; expired ones too, until they are revoked.</summary>
    public IReadOnlyList<MachineToken> List() =>
        _database.Read(c => c.Query($"SELECT {Columns} FROM access_tokens ORDER BY name", Map));

    /// <summary>Ends a token at once, and what was given for it.</summary>
    /// <param name="nameOrId">Its name or its id.</param>
    /// <returns>Null where there is no such token.</returns>
    public Task<string?> RevokeAsync(string nameOrId, CancellationToken cancel) =>
        _database.WriteAsync(
            transaction =>
            {
                _database.Signal(transaction, Revoked);
                return transaction.Scalar<string>(
                    "DELETE FROM access_tokens WHERE id = @which OR name = @which RETURNING name",
                    ("which", nameOrId)
                );
            },
            cancel
        );

    /// <summary>The token of a secret; null where there is none that counts now.</summary>
    public Task<MachineToken?> FindAsync(string secret, CancellationToken cancel) =>
        UseAsync("hash", Hash(secret), cancel);

    /// <summary>The token with an id; null where there is none that counts now.</summary>
    public Task<MachineToken?> FindByIdAsync(string id, CancellationToken cancel) => UseAsync("id", id, cancel);

    /// <summary>The token of a name; null where there is none that counts now.</summary>
    public MachineToken? FindByName(DbConnection connection, string name) => Live(Select(connection, "name", name));

    private async Task<MachineToken?> UseAsync(string column, string value, CancellationToken cancel)
    {
        var now = _time.GetUtcNow();
        var key = column + value;
        if (_cache.TryGetValue(key, out var known) && known.Until > now)
        {
            return Live(known.Token);
        }

        var revocations = Volatile.Read(ref _revocations);
        if (Live(Select(column, value)) is not { } token)
        {
            return null;
        }

        if (_cache.Count >= MaxCached)
        {
            _cache.Clear();
        }

        _cache[key] = (token, now + Trust);
        if (Volatile.Read(ref _revocations) != revocations)
        {
            // What was read may be older than a revocation that has cleared the cache already.
            _cache.TryRemove(key, out _);
        }

        if (!(now - token.LastUsed < UseInterval))
        {
            await NoteUseAsync(token.Id, now, cancel);
        }

        return token;
    }

    // Null: something may have been missed.
    private void Hear(string? topic)
    {
        if (topic is null or Revoked)
        {
            Interlocked.Increment(ref _revocations);
            _cache.Clear();
        }
    }

    private Task NoteUseAsync(string id, DateTimeOffset now, CancellationToken cancel) =>
        _database.WriteAsync(
            transaction =>
                transaction.Run(
                    "UPDATE access_tokens SET last_used = @now WHERE id = @id",
                    ("now", now.ToUnixTimeMilliseconds()),
                    ("id", id)
                ),
            cancel
        );

    private MachineToken? Live(MachineToken? token) => token?.Expires <= _time.GetUtcNow() ? null : token;

    private MachineToken? Select(string column, string value) => _database.Read(c => Select(c, column, value));

    private static MachineToken? Select(DbConnection connection, string column, string value) =>
        connection
            .Query($"SELECT {Columns} FROM access_tokens WHERE {column} = @value", Map, ("value", value))
            .FirstOrDefault();

    private static MachineToken Map(DbDataReader row) =>
        new(
            row.GetString(0),
            row.GetString(1),
            JsonSerializer.Deserialize(row.GetString(2), MachineTokenJson.Default.TokenGrant)!,
            When(row.GetInt64(3)),
            row.GetString(4),
            row.LongOrNull(5) is { } expires ? When(expires) : null,
            row.LongOrNull(6) is { } used ? When(used) : null
        );

    private static DateTimeOffset When(long milliseconds) => DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);

    private static void CheckRoom(DbTransaction transaction, string name)
    {
        if (transaction.Scalar<long?>("SELECT 1 FROM access_tokens WHERE name = @name", ("name", name)) is not null)
        {
            throw new OciException(
                new ErrorCode("DENIED", 409),
                $"there is a token '{name}' already; revoke it first, or choose another name"
            );
        }

        if (transaction.Scalar<long>("SELECT COUNT(*) FROM access_tokens") >= MaxTokens)
        {
            throw new OciException(
                ErrorCodes.TooManyRequests,
                $"there are {MaxTokens} tokens, which is the limit; revoke some"
            );
        }
    }

    private static string Hash(string secret) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(secret)));

    private static string Base64Url(byte[] bytes) => System.Buffers.Text.Base64Url.EncodeToString(bytes);

    private static OciException Invalid(string message) => new(new ErrorCode("UNSUPPORTED", 400), message);

    [GeneratedRegex(@"\Akiln_[A-Za-z0-9_-]{43}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Secret();

    [GeneratedRegex(@"\A(?=.{1,64}\z)[a-z0-9]+([._-][a-z0-9]+)*\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex TokenName();
}

[JsonSerializable(typeof(TokenGrant))]
internal sealed partial class MachineTokenJson : JsonSerializerContext;
