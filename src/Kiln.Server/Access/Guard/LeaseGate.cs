using Kiln.Oci;
using Kiln.Server.Access.Logins;
using Kiln.Server.Access.Policies;
using Kiln.Server.Access.Tokens;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access.Guard;

/// <summary>
/// What a lease's credential opens, whatever the server's mode: the words of its own lease, pushes into its staging area,
/// and pulls of what the requester may pull. Every route says for itself whether it is among these
/// (<see cref="Need.Lease"/>); the rest is closed.
/// </summary>
internal sealed class LeaseGate(
    LeaseCredentials credentials,
    AccessSetting setting,
    PolicyStore policies,
    Requesters requesters,
    TimeProvider time
)
{
    /// <summary>The credential of a lease in the request; null where there is none of that form.</summary>
    public static string? SecretIn(HttpContext http)
    {
        var header = http.Request.Headers.Authorization.ToString();
        var text =
            header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header["Bearer ".Length..].Trim()
            : header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase)
            && Login.ReadBasic(header["Basic ".Length..].Trim()) is var (_, password)
                ? password
            : null;
        return text is not null && LeaseHolder.IsSecret(text) ? text : null;
    }

    /// <summary>The lease of a credential, where it counts now.</summary>
    public LeaseHolder? Live(string secret) => credentials(secret) is { } holder && holder.IsLive(time) ? holder : null;

    /// <summary>Lets a request of a lease through; null where its credential is wrong or over.</summary>
    /// <exception cref="OciException"><c>DENIED</c>, 403: nothing that a lease may do.</exception>
    public Caller? Admit(string secret, Need need, RepositoryName? repository)
    {
        if (credentials(secret) is not { } holder)
        {
            return null;
        }

        // Who comes late with a word under a lease is told that it is lost, by whoever keeps leases.
        if (need.Lease != LeaseUse.Words && !holder.IsLive(time))
        {
            return null;
        }

        var caller = new Caller(
            new Principal($"lease:{holder.Id}") { Kind = PrincipalKind.Lease, Grants = [] },
            policies.Current.Policy,
            null
        )
        {
            Lease = holder,
        };
        return need.Lease switch
        {
            LeaseUse.Words or LeaseUse.Anything => caller,
            LeaseUse.Push when repository!.Value == holder.Repository => caller,
            LeaseUse.Pull when repository!.Value == holder.Repository || MayPull(holder, repository.Value) => caller,
            LeaseUse.Push => throw new OciException(
                ErrorCodes.Denied,
                $"a lease pushes into repository {holder.Repository} only, and there into its own staging area"
            ),
            LeaseUse.Pull => throw new OciException(
                ErrorCodes.Denied,
                $"whoever asked for this build may not pull from repository {repository}, so its lease may not"
            ),
            _ => throw new OciException(
                ErrorCodes.Denied,
                "a lease's credential pushes by digest into its staging area, and pulls what the build needs; it does nothing else"
            ),
        };
    }

    /// <summary>Whether whoever asked for a lease's build may pull from a repository now.</summary>
    public bool MayPull(LeaseHolder holder, string repository) =>
        setting.Mode != AccessMode.Policy
        || policies
            .Current.Policy.RightsOf(requesters.Find(holder.Requester) ?? Principal.Anonymous, repository)
            .HasFlag(Rights.Pull);
}
