using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;

namespace Kiln.Server.Access.Guard;

/// <summary>
/// For whom a build node may build: everybody's jobs where <c>lease</c> is granted, for the requesters that the grant
/// names; and for whoever may build themselves, their own.
/// </summary>
internal sealed class NodeGrants(AccessSetting setting, Requesters requesters)
{
    /// <summary>Whether a caller may build for others anywhere.</summary>
    public bool IsGranted(Caller caller) =>
        setting.Mode != AccessMode.Policy
        || (MayUse(caller) && caller.Policy.GrantsOf(caller.Principal).Any(g => g.Rights.HasFlag(Rights.Lease)));

    /// <summary>Whether a caller may take leases at all.</summary>
    public static bool MayClaim(Caller caller) =>
        MayUse(caller)
        && (
            caller.Principal.Kind == PrincipalKind.LocalUser
            || caller
                .Policy.GrantsOf(caller.Principal)
                .Any(g => (g.Rights & caller.Principal.Ceiling & (Rights.Lease | Rights.Build)) != Rights.None)
        );

    /// <summary>Whether a caller may build what a requester asked for in a repository.</summary>
    public bool MayBuildFor(Caller caller, string repository, string requester) =>
        setting.Mode != AccessMode.Policy
        || (MayUse(caller) && caller.Principal.Ceiling.HasFlag(Rights.Lease) && Grants(caller, repository, requester));

    private bool Grants(Caller caller, string repository, string requester) =>
        caller
            .Policy.GrantsOf(caller.Principal)
            .Any(g =>
                g.Rights.HasFlag(Rights.Lease)
                && g.Covers(repository, caller.Principal.User)
                && (
                    g.Requesters is null
                    || (
                        requesters.Find(requester) is { } principal
                        && g.Requesters.Any(m => caller.Policy.IsMeant(m, principal))
                    )
                )
            );

    // A bearer token has to be for this.
    private static bool MayUse(Caller caller) =>
        caller.Scopes is null
        || caller.Scopes.Any(s => s.Type == TokenScope.Lease.Type && s.Name == TokenScope.Lease.Name);
}
