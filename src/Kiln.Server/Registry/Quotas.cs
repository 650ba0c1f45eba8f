using System.Data.Common;
using System.Globalization;
using Kiln.Oci;
using Kiln.Server.Metadata;

namespace Kiln.Server.Registry;

/// <summary>What a quota's repositories hold together, and what they may.</summary>
/// <param name="Scope">The patterns, as the quota is kept in the database.</param>
internal sealed record QuotaUse(string Scope, QuotaRule Rule, long Bytes, long Tags, long Repositories);

/// <summary>
/// The operator's limits on what repositories hold. Only what manifests refer to counts, each blob once within a quota, so
/// that a push that failed never does, and what was deleted no longer. It is counted and compared in the transaction that
/// changes it: of pushes at the same time, those that fit come in.
/// </summary>
internal sealed class Quotas
{
    private readonly List<(string Source, string Scope, QuotaRule Rule, NamePatterns Names)> _rules = [];

    private Quotas() { }

    /// <summary>The quotas by the name under which they are counted.</summary>
    public IEnumerable<(string Scope, NamePatterns Names)> Scopes => _rules.Select(r => (r.Scope, r.Names));

    /// <summary>Reads rules; what is wrong with them is added to <paramref name="faults"/>.</summary>
    public static Quotas Parse(QuotaOptions options, List<string> faults)
    {
        var quotas = new Quotas();
        for (var i = 0; i < options.Rules.Count; i++)
        {
            var rule = options.Rules[i];
            var source = string.Create(CultureInfo.InvariantCulture, $"quota {i + 1}");
            var names = NamePatterns.Parse(source, rule.Repositories, [], faults);
            if ((rule.MaxBytes ?? rule.MaxTags ?? rule.MaxRepositories) is null)
            {
                faults.Add($"{source} limits nothing; give it max-bytes, max-tags or max-repositories");
            }

            foreach (var limit in new[] { rule.MaxBytes, rule.MaxTags, rule.MaxRepositories })
            {
                if (limit < 0)
                {
                    faults.Add($"{source}: a limit is {limit}; it must be 0 or more");
                }
            }

            var scope = string.Join(',', rule.Repositories.Order(StringComparer.Ordinal));
            if (quotas._rules.Exists(r => r.Scope == scope))
            {
                faults.Add($"{source} is for the same repositories as another; make one of both");
            }

            quotas._rules.Add((source, scope, rule, names));
        }

        return quotas;
    }

    /// <summary>How far each quota is used.</summary>
    public IReadOnlyList<QuotaUse> Uses(DbConnection connection) =>
        [.. _rules.Select(r => Use(connection, r.Scope, r.Rule))];

    /// <summary>Whether any quota holds for a repository.</summary>
    public bool Hold(RepositoryName repository) => _rules.Exists(r => r.Names.Mean(repository));

    /// <summary>Why a blob of some bytes cannot come into a repository; null where it can.</summary>
    /// <param name="digest">Null where it is not known yet; one that counts already costs nothing.</param>
    /// <param name="size">In bytes; what is known of it so far.</param>
    public OciError? Refusal(DbConnection connection, RepositoryName repository, Digest? digest, long size)
    {
        foreach (var (source, scope, rule, names) in _rules)
        {
            if (rule.MaxBytes is not { } limit || !names.Mean(repository))
            {
                continue;
            }

            var used = Use(connection, scope, rule).Bytes;
            if (
                used + size > limit
                && (digest is null || Item(connection, scope, digest.ToString()) is not { Size: > 0 })
            )
            {
                return Full($"{source} ({names})", "bytes", used, size, limit);
            }
        }

        return null;
    }

    /// <summary>Why a manifest cannot come into a repository; null where it can. Nothing is written.</summary>
    /// <param name="size">Of the manifest itself, in bytes.</param>
    public OciError? Refusal(
        DbTransaction transaction,
        long repository,
        RepositoryName name,
        Digest digest,
        long size,
        ManifestInfo manifest,
        IReadOnlyList<Tag> tags
    )
    {
        if (!Hold(name))
        {
            return null;
        }

        var connection = transaction.Connection!;
        var isNew = !Manifests.Exists(transaction, repository, digest);
        var parts = isNew ? Parts(connection, digest.ToString(), size, Manifests.Targets(manifest)) : [];
        var newTags = tags.Count(tag => !HasTag(connection, repository, tag.Value));
        var first = isNew && !HasManifest(connection, repository);
        foreach (var (source, scope, rule, names) in _rules)
        {
            if (!names.Mean(name))
            {
                continue;
            }

            var used = Use(connection, scope, rule);
            var more = parts.Sum(part => Item(connection, scope, part.Key) is { Size: > 0 } ? 0 : part.Value);
            var refusal =
                more > 0 && used.Bytes + more > rule.MaxBytes ? Full(source, "bytes", used.Bytes, more, rule.MaxBytes)
                : newTags > 0 && used.Tags + newTags > rule.MaxTags
                    ? Full(source, "tags", used.Tags, newTags, rule.MaxTags)
                : first && used.Repositories + 1 > rule.MaxRepositories
                    ? Full(source, "repositories", used.Repositories, 1, rule.MaxRepositories)
                : null;
            if (refusal is not null)
            {
                return refusal;
            }
        }

        return null;

        OciError Full(string source, string what, long used, long more, long? limit) =>
            Quotas.Full($"{source} for {name}", what, used, more, limit!.Value);
    }

    /// <summary>Counts a manifest that was not there, after its rows are written.</summary>
    /// <param name="first">Whether it is its repository's first.</param>
    public void Add(
        DbTransaction transaction,
        RepositoryName name,
        Digest digest,
        long size,
        ManifestInfo manifest,
        bool first
    )
    {
        foreach (var scope in Of(name))
        {
            Include(transaction, scope, digest.ToString(), size, Manifests.Targets(manifest));
            if (first)
            {
                Change(transaction, scope, repositories: 1);
            }
        }
    }

    /// <summary>Counts a manifest no more; called while its rows are still there.</summary>
    public void Remove(DbTransaction transaction, long repository, RepositoryName name, Digest digest)
    {
        foreach (var scope in Of(name))
        {
            var targets = Referred(transaction.Connection!, repository, digest);
            foreach (var item in targets.Append(digest.ToString()).Distinct(StringComparer.Ordinal))
            {
                Drop(transaction, scope, item);
            }

            var last = transaction.Scalar<long>(
                "SELECT COUNT(*) FROM (SELECT 1 FROM manifests WHERE repository = @repository LIMIT 2) AS at_most_two",
                ("repository", repository)
            );
            if (last <= 1)
            {
                Change(transaction, scope, repositories: -1);
            }
        }
    }

    /// <summary>Counts tags that came (or, below zero, went).</summary>
    public void AddTags(DbTransaction transaction, RepositoryName name, int count)
    {
        foreach (var scope in count == 0 ? [] : Of(name))
        {
            Change(transaction, scope, tags: count);
        }
    }

    /// <summary>A blob has come that manifests referred to while it was missing.</summary>
    public void Arrived(DbTransaction transaction, RepositoryName name, Digest digest, long size)
    {
        foreach (var scope in Of(name))
        {
            if (Item(transaction.Connection!, scope, digest.ToString()) is { Size: 0 })
            {
                transaction.Run(
                    "UPDATE quota_items SET size = @size WHERE scope = @scope AND digest = @digest",
                    ("scope", scope),
                    ("digest", digest.ToString()),
                    ("size", size)
                );
                Change(transaction, scope, bytes: size);
            }
        }
    }

    /// <summary>Counts a manifest in one scope: itself, and what it refers to.</summary>
    public static void Include(
        DbTransaction transaction,
        string scope,
        string digest,
        long size,
        IEnumerable<string> targets
    )
    {
        var more = 0L;
        foreach (var (item, bytes) in Parts(transaction.Connection!, digest, size, targets))
        {
            var before = Item(transaction.Connection!, scope, item);
            more += before is { Size: > 0 } ? 0 : bytes;
            transaction.Run(
                """
                INSERT INTO quota_items (scope, digest, size, uses) VALUES (@scope, @digest, @size, 1)
                ON CONFLICT (scope, digest) DO UPDATE SET uses = quota_items.uses + 1,
                    size = CASE WHEN quota_items.size = 0 THEN excluded.size ELSE quota_items.size END
                """,
                ("scope", scope),
                ("digest", item),
                ("size", bytes)
            );
        }

        Change(transaction, scope, bytes: more);
    }

    /// <summary>Changes what a scope holds.</summary>
    public static void Change(
        DbTransaction transaction,
        string scope,
        long bytes = 0,
        long tags = 0,
        long repositories = 0
    ) =>
        transaction.Run(
            """
            UPDATE quota_scopes SET bytes = bytes + @bytes, tags = tags + @tags, repositories = repositories + @repositories
            WHERE scope = @scope
            """,
            ("scope", scope),
            ("bytes", bytes),
            ("tags", tags),
            ("repositories", repositories)
        );

    /// <summary>What a manifest of a repository refers to.</summary>
    public static List<string> Referred(DbConnection connection, long repository, Digest digest) =>
        connection.Query(
            "SELECT DISTINCT digest FROM manifest_references WHERE repository = @repository AND manifest = @digest",
            row => row.GetString(0),
            ("repository", repository),
            ("digest", digest.ToString())
        );

    private static void Drop(DbTransaction transaction, string scope, string digest)
    {
        if (Item(transaction.Connection!, scope, digest) is not { } item)
        {
            return;
        }

        if (item.Uses > 1)
        {
            transaction.Run(
                "UPDATE quota_items SET uses = uses - 1 WHERE scope = @scope AND digest = @digest",
                ("scope", scope),
                ("digest", digest)
            );
            return;
        }

        transaction.Run(
            "DELETE FROM quota_items WHERE scope = @scope AND digest = @digest",
            ("scope", scope),
            ("digest", digest)
        );
        Change(transaction, scope, bytes: -item.Size);
    }

    // The real sizes, whatever descriptors say; 0 for what is not there.
    private static Dictionary<string, long> Parts(
        DbConnection connection,
        string digest,
        long size,
        IEnumerable<string> targets
    )
    {
        var parts = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var target in targets)
        {
            parts[target] =
                connection.Scalar<long?>("SELECT size FROM blobs WHERE digest = @digest", ("digest", target)) ?? 0;
        }

        parts[digest] = size;
        return parts;
    }

    private IEnumerable<string> Of(RepositoryName name) => _rules.Where(r => r.Names.Mean(name)).Select(r => r.Scope);

    private static QuotaUse Use(DbConnection connection, string scope, QuotaRule rule) =>
        connection
            .Query(
                "SELECT bytes, tags, repositories FROM quota_scopes WHERE scope = @scope",
                row => new QuotaUse(scope, rule, row.GetInt64(0), row.GetInt64(1), row.GetInt64(2)),
                ("scope", scope)
            )
            .FirstOrDefault()
        ?? new QuotaUse(scope, rule, 0, 0, 0);

    private static (long Size, long Uses)? Item(DbConnection connection, string scope, string digest) =>
        connection
            .Query<(long, long)?>(
                "SELECT size, uses FROM quota_items WHERE scope = @scope AND digest = @digest",
                row => (row.GetInt64(0), row.GetInt64(1)),
                ("scope", scope),
                ("digest", digest)
            )
            .FirstOrDefault();

    private static bool HasTag(DbConnection connection, long repository, string tag) =>
        connection.Scalar<long?>(
            "SELECT 1 FROM tags WHERE repository = @repository AND name = @tag",
            ("repository", repository),
            ("tag", tag)
        )
            is not null;

    /// <summary>Whether a repository has any manifest.</summary>
    public static bool HasManifest(DbConnection connection, long repository) =>
        connection.Scalar<long?>(
            "SELECT 1 FROM manifests WHERE repository = @repository LIMIT 1",
            ("repository", repository)
        )
            is not null;

    private static OciError Full(string source, string what, long used, long more, long limit) =>
        new(
            ErrorCodes.QuotaExceeded,
            $"{source} is full: {used} of {limit} {what} are used, and this is {more} more; delete something, or ask the operator"
        );
}
