using System.Diagnostics.CodeAnalysis;

namespace Kiln.Oci;

/// <summary>
/// An image reference as people write it: <c>HOST[:PORT]/NAME[:TAG][@DIGEST]</c>. A first component without a dot,
/// colon or the word <c>localhost</c> is not a host; such references mean Docker Hub (<c>docker.io</c>, with
/// <c>library/</c> before a bare name), as in docker, podman and apptainer.
/// </summary>
public sealed record Reference(string Host, RepositoryName Repository, Tag? Tag, Digest? Digest)
{
    public const string DockerHub = "docker.io";

    public override string ToString() =>
        $"{Host}/{Repository}{(Tag is null ? "" : ":" + Tag)}{(Digest is null ? "" : "@" + Digest)}";

    /// <summary>What a manifest is asked by: the digest where there is one, else the tag, else <c>latest</c>.</summary>
    public string ManifestReference => Digest?.ToString() ?? Tag?.ToString() ?? "latest";

    public static bool TryParse(string? text, [NotNullWhen(true)] out Reference? reference)
    {
        reference = null;
        if (string.IsNullOrEmpty(text))
        {
            return false;
        }

        Digest? digest = null;
        var at = text.IndexOf('@', StringComparison.Ordinal);
        if (at >= 0 && !Kiln.Oci.Digest.TryParse(text[(at + 1)..], out digest))
        {
            return false;
        }

        var rest = at >= 0 ? text[..at] : text;
        Tag? tag = null;
        var colon = rest.LastIndexOf(':');
        if (colon > rest.LastIndexOf('/'))
        {
            if (!Kiln.Oci.Tag.TryParse(rest[(colon + 1)..], out tag))
            {
                return false;
            }

            rest = rest[..colon];
        }

        var (host, path) = SplitHost(rest);
        if (!RepositoryName.TryParse(path, out var name))
        {
            return false;
        }

        reference = new Reference(host, name, tag, digest);
        return true;
    }

    private static (string Host, string Path) SplitHost(string text)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash > 0)
        {
            var first = text[..slash];
            if (
                first == "localhost"
                || first.Contains('.', StringComparison.Ordinal)
                || first.Contains(':', StringComparison.Ordinal)
            )
            {
                var path = text[(slash + 1)..];
                var bareHubName = first == DockerHub && !path.Contains('/', StringComparison.Ordinal);
                return (first, bareHubName ? "library/" + path : path);
            }
        }

        return (DockerHub, slash > 0 ? text : "library/" + text);
    }
}
