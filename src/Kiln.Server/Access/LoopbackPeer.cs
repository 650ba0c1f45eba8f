using System.Net;
using Kiln.Oci;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Kiln.Server.Access;

/// <summary>
/// Loopback is everybody's on a shared machine: requests are answered for processes of the server's own user and of
/// root alone. Whose a connection is, is found out once, when it comes in.
/// </summary>
internal static class LoopbackPeer
{
    /// <summary>Connection middleware: leaves a <see cref="Principal"/> on a connection that may ask.</summary>
    public static ConnectionDelegate Identify(ConnectionDelegate next) =>
        connection =>
        {
            connection.Features.Set(new PeerUid(Owner(connection)));
            return next(connection);
        };

    /// <summary>Request middleware: refuses what comes over a connection of somebody else.</summary>
    /// <exception cref="OciException"><c>DENIED</c>, 403.</exception>
    public static Task CheckAsync(HttpContext http, RequestDelegate next)
    {
        var uid = http.Features.Get<PeerUid>()?.Value;
        if (uid is null)
        {
            throw new OciException(
                ErrorCodes.Denied,
                "this registry answers only processes of its own user, and the kernel does not say whose this connection is"
            );
        }

        var own = Posix.EffectiveUid();
        if (uid != own && uid != 0)
        {
            throw new OciException(
                ErrorCodes.Denied,
                $"this registry answers only processes of its own user (uid {own}) and of root; this connection is of uid {uid}. Start a registry of your own with 'kiln serve'"
            );
        }

        http.Features.Set(new Principal($"uid:{uid}"));
        return next(http);
    }

    private static uint? Owner(ConnectionContext connection) =>
        connection is { RemoteEndPoint: IPEndPoint peer, LocalEndPoint: IPEndPoint local }
            ? PeerSockets.Owner(peer, local)
            : null;

    private sealed record PeerUid(uint? Value);
}
