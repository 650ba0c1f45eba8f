using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.HttpOverrides;
using IPNetwork = System.Net.IPNetwork;

namespace Kiln.Server.Access.Connections;

/// <summary>
/// Takes the client's address, scheme and host from <c>X-Forwarded-For</c>, <c>-Proto</c> and <c>-Host</c>, but only where
/// a proxy that was named brings them; what anybody else writes there is not looked at.
/// </summary>
internal static class Proxies
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
}
