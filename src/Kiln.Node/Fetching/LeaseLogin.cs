using Kiln.BuildSpec;
using Kiln.Client;
using Kiln.Client.Credentials;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Node.Fetching;

/// <summary>
/// The login that came with a lease, or the node's own for the registry of the lease, where the operator gave it some. A
/// client of its own for each lease: tokens that one build was given must not serve the next, and what one registry lends
/// is not for recipes of another.
/// </summary>
internal sealed class LeaseLogin(LeaseRegistry? registry, BaseRules? rules, ICredentialSource own) : ICredentialSource
{
    /// <summary>Speaks to registries for a lease; null where it brings neither a login nor a word on where to go.</summary>
    public static RegistryClient? Client(Lease lease, BaseRules? rules, NodeOptions options, TimeProvider time) =>
        lease.Registry is not null || rules is not null
            ? new RegistryClient(
                new RegistryClientOptions
                {
                    InsecureRegistries = options.InsecureRegistries,
                    Credentials = new LeaseLogin(lease.Registry, rules, options.BaseLogins),
                    Preset = lease.Registry is { Unasked: true, Hosts: [var first, ..] } login
                        ? new PresetLogin(first, "Bearer", login.Token) { Aliases = login.Hosts }
                        : null,
                    MayConnect = rules is null ? null : rules.WhyNot,
                    Time = time,
                }
            )
            : null;

    public Login? Find(string host, RepositoryName? repository) =>
        registry?.Hosts.Contains(host, StringComparer.OrdinalIgnoreCase) == true ? new Login("build", registry.Token)
        : rules?.IsOwn(host) == true ? own.Find(host, repository)
        : null;
}
