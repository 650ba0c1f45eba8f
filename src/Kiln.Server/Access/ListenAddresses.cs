using System.Net;
using Kiln.Oci;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access;

/// <summary>Where the server listens, and by which names it may be called there.</summary>
internal static class ListenAddresses
{
    private static readonly string[] Names = ["localhost", "127.0.0.1", "[::1]"];

    /// <summary>Checks the addresses, separated by semicolons, before anything listens.</summary>
    /// <exception cref="ServerStartException">One is not an <c>http</c> URL of a loopback address.</exception>
    public static void Check(string urls)
    {
        foreach (var url in urls.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (!Uri.TryCreate(url, UriKind.Absolute, out var parsed) || parsed.Scheme != Uri.UriSchemeHttp)
            {
                throw new ServerStartException(
                    $"cannot listen on '{url}': write an address like http://127.0.0.1:5000"
                );
            }

            if (!IsLoopback(parsed))
            {
                throw new ServerStartException(
                    $"cannot listen on '{url}': there is no access control for other machines yet, so only loopback addresses like http://127.0.0.1:5000 are allowed"
                );
            }
        }
    }

    /// <summary>
    /// Refuses a request that calls the server by a name that is not its own: a page in the user's browser whose name
    /// was made to resolve to loopback ("DNS rebinding").
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

    private static bool IsLoopback(Uri url) =>
        url.HostNameType switch
        {
            UriHostNameType.IPv4 or UriHostNameType.IPv6 => IPAddress.IsLoopback(
                IPAddress.Parse(url.Host.Trim('[', ']'))
            ),
            _ => url.Host == "localhost",
        };

    private static bool IsOwnName(string host) =>
        Names.Contains(host, StringComparer.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host, out var address) && IPAddress.IsLoopback(address));
}
