using System.Net;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access.Guard;

/// <summary>By which address a client calls this registry, where the operator has not said by which it is to be called.</summary>
internal static class CalledAddress
{
    /// <summary>The longest name of a host that DNS has, in characters.</summary>
    public const int MaxHostLength = 253;

    /// <summary>
    /// Scheme and authority, without a slash at the end: the public one, else what the client says. HTTP/1.0 says nothing, and
    /// not everything that may stand in <c>Host</c> is a host: then it is the address that was reached.
    /// </summary>
    public static string Of(HttpContext http, ServerOptions options) =>
        options.Access.PublicUrl?.TrimEnd('/') ?? $"{http.Request.Scheme}://{Authority(http)}";

    /// <summary>As <c>host[:port]</c>: what the client says, else the address that was reached.</summary>
    public static string Authority(HttpContext http) =>
        IsHost(http.Request.Host) ? http.Request.Host.Value! : Reached(http.Connection).ToString();

    // A name of letters, digits, hyphens, underscores and points, or an address: nothing that would have to be escaped.
    private static bool IsHost(HostString host) =>
        host.Value is { Length: > 0 } text
        && host.Host.Length <= MaxHostLength
        && Uri.CheckHostName(host.Host) != UriHostNameType.Unknown
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or ':' or '[' or ']')
        && Uri.TryCreate($"http://{text}", UriKind.Absolute, out var url)
        && url.Host.Length > 0
        && url.PathAndQuery == "/";

    private static IPEndPoint Reached(ConnectionInfo connection) =>
        new(connection.LocalIpAddress ?? IPAddress.Loopback, connection.LocalPort);
}
