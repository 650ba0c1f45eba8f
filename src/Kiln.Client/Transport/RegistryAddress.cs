using System.Net;
using Kiln.Oci;

namespace Kiln.Client.Transport;

/// <summary>From a registry's name in a reference to where it answers.</summary>
public static class RegistryAddress
{
    /// <summary>The root of the registry's API, without <c>/v2/</c>.</summary>
    public static Uri Of(string host, IReadOnlyList<string> insecure)
    {
        // Docker Hub's name in references is not where its registry is.
        if (host is Reference.DockerHub or "index.docker.io")
        {
            return new Uri("https://registry-1.docker.io/");
        }

        var plain = IsLoopback(host) || insecure.Contains(host, StringComparer.OrdinalIgnoreCase);
        return new Uri($"{(plain ? "http" : "https")}://{host}/");
    }

    /// <summary>The path and query of an address that is written in full and leads below <c>/v2/</c>; null of any other.</summary>
    public static string? ApiPath(string location) =>
        !location.StartsWith('/')
        && Uri.TryCreate(location, UriKind.Absolute, out var url)
        && url.AbsolutePath.StartsWith("/v2/", StringComparison.Ordinal)
        && location.IndexOf("://", StringComparison.Ordinal) is > 0 and var scheme
        && location.IndexOf("/v2/", scheme + "://".Length, StringComparison.Ordinal) is > 0 and var path
            ? location[path..]
            : null;

    /// <summary><c>localhost</c>, 127.0.0.0/8 and ::1, with or without a port.</summary>
    public static bool IsLoopback(string host)
    {
        if (!Uri.TryCreate($"http://{host}/", UriKind.Absolute, out var uri))
        {
            return false;
        }

        return uri.Host == "localhost"
            || (IPAddress.TryParse(uri.Host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address));
    }
}
