using System.Net;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access.Connections;

/// <summary>One address to listen on.</summary>
/// <param name="EndPoint">Null for both families' loopback, by the name <c>localhost</c>.</param>
internal sealed record ListenAddress(IPEndPoint? EndPoint, int Port, bool IsTls)
{
    public bool IsLoopback => EndPoint is null || IPAddress.IsLoopback(EndPoint.Address);
}

/// <summary>Where the server listens, and by which names it may be called there.</summary>
internal static class ListenAddresses
{
    private static readonly string[] Names = ["localhost", "127.0.0.1", "[::1]"];

    /// <summary>Reads the addresses, separated by semicolons, before anything listens.</summary>
    /// <exception cref="ServerStartException">One is not an <c>http</c> or <c>https</c> URL of an address.</exception>
    public static IReadOnlyList<ListenAddress> Parse(string urls) =>
        [
            .. urls.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
                .Select(url =>
                    Read(url)
                    ?? throw new ServerStartException(
                        $"cannot listen on '{url}': write an address like http://127.0.0.1:5000 or https://0.0.0.0:443"
                    )
                ),
        ];

    /// <summary>How the server will decide who may do what.</summary>
    /// <exception cref="ServerStartException">The options contradict each other, or would let anybody in unasked.</exception>
    public static AccessMode Check(ServerOptions options)
    {
        var addresses = Parse(options.Urls);
        var access = options.Access;
        var faults = new List<string>();
        if (access is { PolicyFile: not null, InsecureAnonymous: true })
        {
            faults.Add("--policy says who may do what and --insecure-anonymous that everybody may: leave one out");
        }

        var guarded = access.PolicyFile is not null || access.InsecureAnonymous || options.Front.Url is not null;
        if (!guarded && !addresses.All(a => a.IsLoopback))
        {
            faults.Add(
                $"cannot listen on '{options.Urls}': others could reach it, and there is no access control; give --policy FILE (docs/guide/access.md), or --insecure-anonymous to let everybody do everything"
            );
        }

        if (!guarded && access.TrustedProxies.Count > 0)
        {
            faults.Add("--trusted-proxy lets others in, and there is no access control: give --policy FILE too");
        }

        var certificate = access is { CertificateFile: not null, KeyFile: not null };
        if (addresses.Any(a => a.IsTls) && !certificate)
        {
            faults.Add($"'{options.Urls}' needs a certificate: give --tls-cert FILE and --tls-key FILE, both in PEM");
        }

        if (!addresses.Any(a => a.IsTls) && (access.CertificateFile is not null || access.KeyFile is not null))
        {
            faults.Add("a certificate is given, but no address begins with https://");
        }

        if (access.PublicUrl is { } own && !IsOrigin(own))
        {
            faults.Add($"the public URL '{own}' is not of the form https://registry.example.org[:PORT]");
        }

        return faults.Count > 0 ? throw new ServerStartException(string.Join("\n  ", faults))
            : options.Front.Url is not null ? AccessMode.Behind
            : access.PolicyFile is not null ? AccessMode.Policy
            : access.InsecureAnonymous ? AccessMode.Everybody
            : AccessMode.OwnUser;
    }

    /// <summary>
    /// Where only loopback is listened on and nobody has to log in: refuses a request that calls the server by a name
    /// that is not its own, a page in the user's browser whose name was made to resolve to loopback ("DNS rebinding").
    /// </summary>
    /// <exception cref="OciException"><c>DENIED</c>, 421.</exception>
    public static Task CheckHostAsync(HttpContext http, RequestDelegate next)
    {
        // The port is not compared: a forwarded port has another number, and rebinding needs a name.
        var host = http.Request.Host.Host;
        return IsOwnName(host)
            ? next(http)
            : throw new OciException(
                ErrorCodes.HostRefused,
                $"this registry is not called '{host}'; use localhost, 127.0.0.1 or [::1]"
            );
    }

    /// <summary>Whether a host's name is one of this machine's loopback.</summary>
    public static bool IsOwnName(string host) =>
        Names.Contains(host, StringComparer.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host, out var address) && IPAddress.IsLoopback(address));

    private static ListenAddress? Read(string url)
    {
        if (
            !Uri.TryCreate(url, UriKind.Absolute, out var parsed)
            || (parsed.Scheme != Uri.UriSchemeHttp && parsed.Scheme != Uri.UriSchemeHttps)
            || parsed.AbsolutePath != "/"
        )
        {
            return null;
        }

        var tls = parsed.Scheme == Uri.UriSchemeHttps;
        return parsed.Host == "localhost" ? new ListenAddress(null, parsed.Port, tls)
            : IPAddress.TryParse(parsed.Host.Trim('[', ']'), out var address)
                ? new ListenAddress(new IPEndPoint(address, parsed.Port), parsed.Port, tls)
            : null;
    }

    private static bool IsOrigin(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url)
        && (url.Scheme == Uri.UriSchemeHttps || url.Scheme == Uri.UriSchemeHttp)
        && url is { AbsolutePath: "/", Query: "", Fragment: "", UserInfo: "" };
}
