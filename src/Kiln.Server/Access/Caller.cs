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

    public bool IsAnonymous => Principal.Kind == PrincipalKind.Anonymous;

    /// <summary>What the policy and the token together allow in a repository.</summary>
    public Rights RightsIn(RepositoryName repository) => RightsIn(repository.Value);

    /// <inheritdoc cref="RightsIn(RepositoryName)"/>
    public Rights RightsIn(string repository)
    {
        var rights = Policy.RightsOf(Principal, repository);
        return Scopes is null ? rights : rights & TokenScope.RightsIn(Scopes, repository);
    }

    public bool May(RepositoryName repository, Rights rights) => (rights & ~RightsIn(repository)) == Rights.None;
}
