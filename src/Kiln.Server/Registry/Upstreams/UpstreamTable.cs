using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>The upstream registries of this server, by the names that their repositories have here.</summary>
internal sealed class UpstreamTable : IDisposable
{
    private readonly List<Upstream> _all;

    /// <exception cref="ServerStartException">They cannot be used as they are configured; all that is wrong is said.</exception>
    public UpstreamTable(ServerOptions options, TimeProvider time, ILogger<UpstreamTable> log)
    {
        var faults = new List<string>();
        _all = UpstreamReader.Read(options.Upstreams, time, log, faults);
        if (faults.Count > 0)
        {
            Dispose();
            throw new ServerStartException(string.Join("; ", faults));
        }
    }

    /// <summary>Every upstream.</summary>
    public IReadOnlyList<Upstream> All => _all;

    /// <summary>The upstream that a repository of this registry mirrors; null for one of its own.</summary>
    public Upstream? Of(RepositoryName repository)
    {
        foreach (var upstream in _all)
        {
            if (upstream.Covers(repository))
            {
                return upstream;
            }
        }

        return null;
    }

    /// <summary>
    /// What a repository of a registry that the client names (<c>ns</c>) is called here; null where that registry is no
    /// upstream. Some clients write the prefix as well, which then stands once.
    /// </summary>
    /// <exception cref="OciException"><c>NAME_INVALID</c>, 400: the whole name would be too long.</exception>
    public RepositoryName? Named(string host, RepositoryName name)
    {
        var upstream = _all.Find(u => u.Host.Equals(host, StringComparison.OrdinalIgnoreCase));
        return upstream is null ? null
            : upstream.Covers(name) ? name
            : upstream.LocalName(name)
                ?? throw new OciException(
                    ErrorCodes.NameInvalid,
                    $"the name of this repository is too long for a mirror; {upstream.Prefix}/NAME has {RepositoryName.MaxLength} characters at most"
                );
    }

    public void Dispose() => _all.ForEach(upstream => upstream.Dispose());
}
