using System.Collections.Concurrent;
using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Policies;
using Kiln.Server.Metadata;

namespace Kiln.Server.Access.Tokens;

/// <summary>
/// Those who ask for builds. A build runs later, and may read from this registry what its requester may read then: it
/// gets a token that stands for the requester, for pulling only.
/// </summary>
internal sealed class Requesters(
    AccessSetting setting,
    PolicyStore policies,
    MachineTokens machines,
    TokenSigner signer,
    Database database,
    OwnHosts own,
    TimeProvider time
)
{
    private const int MaxKnown = 10_000;

    // Bases are fetched at a build's beginning; large ones take their time.
    private static readonly TimeSpan Lifetime = TimeSpan.FromHours(1);

    private readonly ConcurrentDictionary<string, string> _known = new(StringComparer.Ordinal);

    /// <summary>
    /// Keeps what only an issuer's token says of somebody, for the builds that they ask for; everybody else is known from
    /// the policy.
    /// </summary>
    public async Task NoteAsync(Principal principal, CancellationToken cancel)
    {
        if (principal.Kind != PrincipalKind.Oidc)
        {
            return;
        }

        var document = JsonSerializer.Serialize(principal.Groups, BuildJson.Default.IReadOnlyListString);
        if (_known.TryGetValue(principal.Name, out var known) && known == document)
        {
            return;
        }

        await database.WriteAsync(
            transaction =>
                transaction.Run(
                    """
                    INSERT INTO access_principals (name, document, updated) VALUES (@name, @document, @now)
                    ON CONFLICT (name) DO UPDATE SET document = excluded.document, updated = excluded.updated
                    """,
                    ("name", principal.Name),
                    ("document", document),
                    ("now", time.Milliseconds())
                ),
            cancel
        );
        if (_known.Count >= MaxKnown)
        {
            _known.Clear();
        }

        _known[principal.Name] = document;
    }

    /// <summary>The login for a build that somebody asked for; null where none is needed, or they are nobody any more.</summary>
    public LeaseRegistry? LoginFor(DbConnection connection, string name)
    {
        if (setting.Mode != AccessMode.Policy || Find(connection, name) is not { } principal)
        {
            return null;
        }

        return new LeaseRegistry
        {
            Hosts = own.All,
            Token = signer.Sign(principal with { Ceiling = Rights.Pull }, scopes: null, time.GetUtcNow() + Lifetime),
        };
    }

    /// <summary>Whoever asked for a build, as they are known now; null where they are nobody any more.</summary>
    public Principal? Find(string name) => database.Read(c => Find(c, name));

    private Principal? Find(DbConnection connection, string name)
    {
        var policy = policies.Current;
        var colon = name.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
        {
            return policy.Htpasswd.Find(name) is { } hash
                ? new Principal(name)
                {
                    Kind = PrincipalKind.User,
                    User = name,
                    Credential = signer.Fingerprint(hash),
                }
                : null;
        }

        var (kind, user) = (name[..colon], name[(colon + 1)..]);
        return kind == "token" ? machines.FindByName(connection, user)?.Principal
            : policy.Policy.Issuers.Any(i => i.Name == kind)
                ? new Principal(name)
                {
                    Kind = PrincipalKind.Oidc,
                    User = user,
                    Groups = Groups(connection, name),
                }
            : null;
    }

    /// <summary>Whether somebody, by the name that stands in a job, may pull from a repository now.</summary>
    public bool MayPull(string name, RepositoryName repository) =>
        setting.Mode != AccessMode.Policy
        || policies
            .Current.Policy.RightsOf(database.Read(c => Find(c, name)) ?? Principal.Anonymous, repository.Value)
            .HasFlag(Rights.Pull);

    /// <summary>Whether somebody, by the name that stands in a job, may have builds in a repository now.</summary>
    public bool MayBuild(string name, RepositoryName repository) =>
        setting.Mode != AccessMode.Policy
        || (
            (name == Principal.Anonymous.Name ? Principal.Anonymous : Find(name)) is { } principal
            && policies.Current.Policy.RightsOf(principal, repository.Value).HasFlag(Rights.Build | Rights.Push)
        );

    private static IReadOnlyList<string> Groups(DbConnection connection, string name) =>
        connection.Scalar<string>("SELECT document FROM access_principals WHERE name = @name", ("name", name))
            is { } document
            ? JsonSerializer.Deserialize(document, BuildJson.Default.IReadOnlyListString)!
            : [];
}
