using System.Net.Security;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Server.Access.Connections;

/// <summary>Opens the addresses that the server listens on.</summary>
internal static class Listening
{
    public static void Configure(KestrelServerOptions kestrel, ServerOptions options)
    {
        kestrel.Limits.MaxConcurrentConnections = ConnectionLimit.Of(options);
        foreach (var address in ListenAddresses.Parse(options.Urls))
        {
            if (address.EndPoint is { } endPoint)
            {
                kestrel.Listen(endPoint, listen => Endpoint(listen, address));
            }
            else
            {
                kestrel.ListenLocalhost(address.Port, listen => Endpoint(listen, address));
            }
        }
    }

    private static void Endpoint(ListenOptions listen, ListenAddress address)
    {
        listen.Use(LoopbackPeer.Identify);
        if (address.IsTls)
        {
            var certificate = listen.ApplicationServices.GetRequiredService<ServerCertificate>();
            listen.UseHttps(
                new TlsHandshakeCallbackOptions
                {
                    OnConnection = _ => ValueTask.FromResult<SslServerAuthenticationOptions>(certificate.Handshake()),
                }
            );
        }
        else
        {
            listen.Protocols = HttpProtocols.Http1;
        }
    }
}
