using Kiln.BuildSpec;
using Kiln.Server.Registry.Upstreams;

namespace Kiln.Server.Builds.Leases;

/// <summary>What a lease says about where bases may come from.</summary>
internal sealed class BasePlaces(OwnHosts own, UpstreamTable upstreams, BuildOptions options)
{
    public LeaseBases Bases =>
        new()
        {
            Own = own.All,
            Mirrors = [.. upstreams.All.Select(u => new LeaseMirror(u.Host, u.Prefix.Value))],
            Allow = options.AllowBases,
            Deny = options.DenyBases,
        };
}
