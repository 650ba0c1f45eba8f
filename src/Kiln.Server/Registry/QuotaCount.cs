using System.Data.Common;
using Kiln.Oci;
using Kiln.Server.Metadata;
using Microsoft.Extensions.Hosting;

namespace Kiln.Server.Registry;

/// <summary>
/// Counts what a quota's repositories hold when the quota is new, before any request comes; afterwards pushes and deletions
/// keep count themselves.
/// </summary>
internal sealed class QuotaCount(Database database, Quotas quotas) : IHostedService
{
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var known = database.Read(c => c.Query("SELECT scope FROM quota_scopes", row => row.GetString(0)));
        foreach (var (scope, names) in quotas.Scopes.Where(s => !known.Contains(s.Scope, StringComparer.Ordinal)))
        {
            await database.WriteAsync(transaction => Count(transaction, scope, names), cancellationToken);
        }

        var dropped = known.Except(quotas.Scopes.Select(s => s.Scope), StringComparer.Ordinal).ToList();
        if (dropped.Count > 0)
        {
            await database.WriteAsync(transaction => dropped.ForEach(s => Forget(transaction, s)), cancellationToken);
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private static void Forget(DbTransaction transaction, string scope)
    {
        transaction.Run("DELETE FROM quota_items WHERE scope = @scope", ("scope", scope));
        transaction.Run("DELETE FROM quota_scopes WHERE scope = @scope", ("scope", scope));
    }

    private static void Count(DbTransaction transaction, string scope, NamePatterns names)
    {
        Forget(transaction, scope);
        transaction.Run(
            "INSERT INTO quota_scopes (scope, bytes, tags, repositories) VALUES (@scope, 0, 0, 0)",
            ("scope", scope)
        );
        var repositories = transaction.Query(
            "SELECT id, name FROM repositories",
            row => (Id: row.GetInt64(0), Name: RepositoryName.Parse(row.GetString(1)))
        );
        foreach (var (id, _) in repositories.FindAll(r => names.Mean(r.Name)))
        {
            var manifests = transaction.Query(
                "SELECT digest, length(content) FROM manifests WHERE repository = @repository",
                row => (Digest: Digest.Parse(row.GetString(0)), Size: row.GetInt64(1)),
                ("repository", id)
            );
            foreach (var (digest, size) in manifests)
            {
                var targets = Quotas.Referred(transaction.Connection!, id, digest);
                Quotas.Include(transaction, scope, digest.ToString(), size, targets);
            }

            var tags = transaction.Scalar<long>(
                "SELECT COUNT(*) FROM tags WHERE repository = @repository",
                ("repository", id)
            );
            Quotas.Change(transaction, scope, tags: tags, repositories: manifests.Count > 0 ? 1 : 0);
        }
    }
}

/// <summary>How far quotas are used, for the operator.</summary>
internal sealed class QuotaUses(Database database, Quotas quotas)
{
    public IReadOnlyList<QuotaUse> All() => database.Read(quotas.Uses);
}
