using System.Net;
using Kiln.Oci;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access;

/// <summary>
/// Loopback is everybody's on a shared machine: only processes of the server's own user and of root are taken at the
/// kernel's word. Whose a connection is, is found out once, at the first request that needs it; a request that somebody
/// else passed on is never the peer's own.
/// </summary>
internal static class LoopbackPeer
{
    // By which proxies of all kinds say that they are there.
    private static readonly string[] ProxyHeaders =
    [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "X-Original-For",
    ];

    /// <summary>Connection middleware: notes both ends of a connection.</summary>
    public static ConnectionDelegate Identify(ConnectionDelegate next) =>
        connection =>
        {
            connection.Features.Set(new Peer(connection));
            return next(connection);
        };

    /// <summary>The server's own user or root at the other end; null where it is anybody else, or cannot be known.</summary>
    public static Principal? Of(HttpContext http) =>
        Doubt(http) is null && http.Features.Get<Peer>()?.Uid is { } uid && (uid == Posix.EffectiveUid() || uid == 0)
            ? new Principal($"uid:{uid}") { Kind = PrincipalKind.LocalUser }
            : null;

    /// <summary>The server's own user or root at the other end.</summary>
    /// <exception cref="OciException"><c>DENIED</c>, 403: it is anybody else.</exception>
    public static Principal Require(HttpContext http)
    {
        if (Of(http) is { } principal)
        {
            return principal;
        }

        var uid = http.Features.Get<Peer>()?.Uid;
        throw new OciException(
            ErrorCodes.Denied,
            Doubt(http) is { } doubt ? $"this registry answers only processes of its own user, and {doubt}"
                : uid is null
                    ? "this registry answers only processes of its own user, and the kernel does not say whose this connection is"
                : $"this registry answers only processes of its own user (uid {Posix.EffectiveUid()}) and of root; this connection is of uid {uid}. Start a registry of your own with 'kiln serve'"
        );
    }

    // What makes the peer somebody other than the one who asks.
    private static string? Doubt(HttpContext http)
    {
        var headers = http.Request.Headers;
        if (ProxyHeaders.Any(headers.ContainsKey))
        {
            return "this request came through a proxy; for others there has to be a policy (kiln serve --policy)";
        }

        return
            headers.Origin.ToString() is { Length: > 0 } origin
            && origin != $"{http.Request.Scheme}://{http.Request.Host}"
            ? "this request was made by a web page of somebody else"
            : null;
    }

    private sealed class Peer(ConnectionContext connection)
    {
        private readonly Lazy<uint?> _uid = new(() => Owner(connection));

        public uint? Uid => _uid.Value;

        // A peer on another of this machine's addresses would be found as well, but may be a build's network.
        private static uint? Owner(ConnectionContext connection) =>
            connection is { RemoteEndPoint: IPEndPoint peer, LocalEndPoint: IPEndPoint local }
            && IsLoopback(peer.Address)
            && IsLoopback(local.Address)
                ? PeerSockets.Owner(peer, local)
                : null;

        private static bool IsLoopback(IPAddress address) =>
            IPAddress.IsLoopback(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address);
    }
}
