using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.Logging;
using IPNetwork = System.Net.IPNetwork;

namespace Kiln.Server.Access.Connections;

/// <summary>
/// Takes the client's address, scheme and host from <c>X-Forwarded-For</c>, <c>-Proto</c> and <c>-Host</c>, but only where
/// a proxy that was named brings them; what anybody else writes there is not looked at.
/// </summary>
internal static partial class Proxies
{
    /// <summary>How the framework's middleware is to read them.</summary>
    /// <exception cref="ServerStartException">A proxy is no address or network.</exception>
    public static ForwardedHeadersOptions Options(IReadOnlyList<string> trusted)
    {
        var options = new ForwardedHeadersOptions
        {
            ForwardedHeaders =
                ForwardedHeaders.XForwardedFor | ForwardedHeaders.XForwardedProto | ForwardedHeaders.XForwardedHost,
            // As many as there are trusted ones in a row.
            ForwardLimit = null,
        };
        options.KnownProxies.Clear();
        options.KnownIPNetworks.Clear();
        foreach (var text in trusted)
        {
            if (IPAddress.TryParse(text, out var address))
            {
                options.KnownProxies.Add(address);
            }
            else if (IPNetwork.TryParse(text, out var network))
            {
                options.KnownIPNetworks.Add(network);
            }
            else
            {
                throw new ServerStartException(
                    $"'{text}' is no address or network of a proxy; write 10.0.0.7 or 10.0.0.0/8"
                );
            }
        }

        return options;
    }

    /// <summary>
    /// Tells the operator, once, of a proxy that says who asks by <c>Forwarded</c> (RFC 7239) alone. It is not read: a proxy
    /// knows one kind of header and passes the other on as the client wrote it, so to read both is to believe anybody.
    /// </summary>
    public static Func<HttpContext, RequestDelegate, Task> WarnOfForwarded(
        ForwardedHeadersOptions options,
        ILoggerFactory logs
    )
    {
        var log = logs.CreateLogger(typeof(Proxies));
        var told = 0;
        return (http, next) =>
        {
            if (
                Volatile.Read(ref told) == 0
                && http.Request.Headers.ContainsKey("Forwarded")
                && !http.Request.Headers.ContainsKey(options.ForwardedForHeaderName)
                && http.Connection.RemoteIpAddress is { } address
                && IsTrusted(options, address)
                && Interlocked.Exchange(ref told, 1) == 0
            )
            {
                LogForwarded(log, address);
            }

            return next(http);
        };
    }

    private static bool IsTrusted(ForwardedHeadersOptions options, IPAddress address)
    {
        var plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        return options.KnownProxies.Contains(plain) || options.KnownIPNetworks.Any(n => n.Contains(plain));
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "the trusted proxy {Address} sends Forwarded, which is not read, and no X-Forwarded-For: all its clients count as the proxy. Have it set X-Forwarded-For, -Proto and -Host"
    )]
    private static partial void LogForwarded(ILogger log, IPAddress address);
}
