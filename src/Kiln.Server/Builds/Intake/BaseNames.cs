using Kiln.Oci;
using Kiln.Server.Registry.Upstreams;

namespace Kiln.Server.Builds.Intake;

/// <summary>What bases that recipes name are called in this registry.</summary>
internal sealed class BaseNames(OwnHosts own, UpstreamTable upstreams)
{
    /// <summary>The repository of a reference as recipes write it, copies of upstreams included; null where it is elsewhere.</summary>
    /// <exception cref="OciException"><c>NAME_INVALID</c>, 400: its name here would be too long.</exception>
    public RepositoryName? Here(string written) =>
        Reference.TryParse(written, out var reference) ? Here(reference) : null;

    /// <inheritdoc cref="Here(string)"/>
    public RepositoryName? Here(Reference reference) =>
        own.All.Any(known => IsSame(known, reference.Host))
            ? reference.Repository
            : upstreams.Named(reference.Host, reference.Repository);

    // Public addresses leave out the port that their scheme has anyway.
    private static bool IsSame(string known, string host) =>
        known.Equals(host, StringComparison.OrdinalIgnoreCase)
        || $"{known}:443".Equals(host, StringComparison.OrdinalIgnoreCase)
        || $"{known}:80".Equals(host, StringComparison.OrdinalIgnoreCase);
}
