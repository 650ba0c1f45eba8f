using Kiln.Client.Credentials;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// Logins with which bases are fetched from watched registries: only for the repositories that the operator names, since
/// whoever may push a recipe could otherwise build on whatever this node may pull.
/// </summary>
public sealed class BaseLogins(IReadOnlyList<WatchedRegistry> registries) : ICredentialSource
{
    public Login? Find(string host, RepositoryName? repository) =>
        repository is null
            ? null
            : registries
                .Where(registry =>
                    registry.IsAt(host)
                    && registry.PrivateBases.Any(pattern => Glob.MatchesPath(repository.Value, pattern))
                )
                .Select(registry => registry.Credentials.Find(registry.Host, repository))
                .FirstOrDefault(login => login is not null);
}
