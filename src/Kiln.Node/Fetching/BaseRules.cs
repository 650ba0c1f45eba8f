using System.Net;
using Kiln.BuildSpec;
using Kiln.Client.Transport;
using Kiln.Oci;

namespace Kiln.Node.Fetching;

/// <summary>
/// Where bases are fetched from, and where they may not be. A recipe names any host it likes, and the node speaks from
/// inside a network: what listens there for the node's own machine or site is not for recipes.
/// </summary>
/// <param name="bases">What the registry says.</param>
/// <param name="insecure">Hosts that the operator named for other reasons, and so trusts.</param>
internal sealed class BaseRules(LeaseBases bases, IReadOnlyList<string> insecure)
{
    /// <summary>Where an image is had: itself, or its copy in the registry that mirrors its host.</summary>
    /// <exception cref="FormatException">It may not be a base.</exception>
    public Reference Place(Reference image)
    {
        if (IsOwn(image.Host))
        {
            return image;
        }

        var name = $"{image.Host}/{image.Repository}";
        if (bases.Deny.Any(pattern => Matches(name, pattern)))
        {
            throw new FormatException($"{name} is not allowed as a base here: this registry's operator has denied it");
        }

        if (bases.Allow.Count > 0 && !bases.Allow.Any(pattern => Matches(name, pattern)))
        {
            throw new FormatException(
                $"{name} is not allowed as a base here; there are {string.Join(", ", bases.Allow)}, and what is in this registry"
            );
        }

        var mirror = bases.Mirrors.FirstOrDefault(m => m.Host.Equals(image.Host, StringComparison.OrdinalIgnoreCase));
        return
            mirror is not null
            && bases.Own.Count > 0
            && RepositoryName.TryParse($"{mirror.Prefix}/{image.Repository}", out var mirrored)
            ? image with
            {
                Host = bases.Own[0],
                Repository = mirrored,
            }
            : image;
    }

    /// <summary>Why no connection may be made to an address of a host; null where one may.</summary>
    /// <param name="host">As <c>host:port</c>.</param>
    public string? WhyNot(string host, IPAddress address) =>
        PublicAddress.Is(address) || bases.Own.Concat(insecure).Concat(NamedInFull()).Any(known => IsSame(known, host))
            ? null
            : $"{host} is at {address}, which is not public; bases are not fetched from there unless this registry's operator names the host in builds.bases.allow";

    // Without a wildcard: "*.example.org/**" opens nothing inside.
    private IEnumerable<string> NamedInFull() =>
        bases
            .Allow.Select(pattern => pattern[..SlashOf(pattern)])
            .Where(host => !host.Contains('*', StringComparison.Ordinal));

    /// <summary>Whether a host is the registry that gave the lease.</summary>
    public bool IsOwn(string host) => bases.Own.Any(own => own.Equals(host, StringComparison.OrdinalIgnoreCase));

    private static bool IsSame(string known, string host)
    {
        var colon = known.LastIndexOf(':');
        return colon > known.LastIndexOf(']')
            ? known.Equals(host, StringComparison.OrdinalIgnoreCase)
            : host.Equals($"{known}:443", StringComparison.OrdinalIgnoreCase)
                || host.Equals($"{known}:80", StringComparison.OrdinalIgnoreCase);
    }

    // HOST, HOST/REPOSITORY or HOST/PART/**; a * stands for any characters of one component.
    private static bool Matches(string name, string pattern)
    {
        var (host, path) = (pattern[..SlashOf(pattern)], pattern[Math.Min(SlashOf(pattern) + 1, pattern.Length)..]);
        var slash = name.IndexOf('/', StringComparison.Ordinal);
        return Glob.Matches(name.AsSpan(0, slash), host)
            && (path is "" or "**" || Glob.MatchesPath(name[(slash + 1)..], path));
    }

    private static int SlashOf(string pattern) =>
        pattern.IndexOf('/', StringComparison.Ordinal) is var slash and >= 0 ? slash : pattern.Length;
}
