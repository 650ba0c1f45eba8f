using Kiln.Oci;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;

namespace Kiln.Server.Access;

/// <summary>Who asks, under which policy, and what the token that was presented is limited to.</summary>
/// <param name="Scopes">What the token was asked for; null where there is no such limit.</param>
internal sealed record Caller(Principal Principal, Policy Policy, IReadOnlyList<TokenScope>? Scopes)
{
    /// <summary>When what was presented ends; null where nothing says.</summary>
    public DateTimeOffset? Expires { get; init; }

    /// <summary>The lease whose credential was presented, with which nothing else is possible; null for everybody else.</summary>
    public LeaseHolder? Lease { get; init; }

    public bool IsAnonymous => Principal.Kind == PrincipalKind.Anonymous;

    /// <summary>What the policy and the token together allow in a repository.</summary>
    public Rights RightsIn(RepositoryName repository) => RightsIn(repository.Value);

    /// <inheritdoc cref="RightsIn(RepositoryName)"/>
    public Rights RightsIn(string repository)
    {
        var rights = Policy.RightsOf(Principal, repository);
        return Scopes is null ? rights : rights & TokenScope.RightsIn(Scopes, repository);
    }

    /// <summary>
    /// Whether a repository may be in a list for the caller. A token for the catalogue names no repositories, so the policy
    /// alone decides.
    /// </summary>
    public bool MayList(string repository) => Policy.RightsOf(Principal, repository).HasFlag(Rights.Pull);

    public bool May(RepositoryName repository, Rights rights) => (rights & ~RightsIn(repository)) == Rights.None;
}
