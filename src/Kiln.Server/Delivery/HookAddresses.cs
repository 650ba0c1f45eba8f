using System.Net;
using System.Net.Sockets;

namespace Kiln.Server.Delivery;

/// <summary>Finds the addresses of a host name. Replaced in tests.</summary>
internal delegate Task<IPAddress[]> NameLookup(string host, CancellationToken cancel);

/// <summary>
/// Connects to receivers that users have named. A name is looked up once for each connection, and the connection goes to
/// exactly the addresses that were found allowed: a name that resolves to another one a moment later changes nothing.
/// </summary>
internal sealed class HookAddresses(AddressRules rules, NameLookup lookup)
{
    /// <summary>Why a hook may not lead to a URL now, as the end of a sentence; null where it may.</summary>
    public async Task<string?> RefusalAsync(Uri url, CancellationToken cancel)
    {
        IPAddress[] found;
        try
        {
            found = await FindAsync(url.IdnHost, cancel);
        }
        catch (SocketException)
        {
            return $"the name {url.IdnHost} is not known";
        }

        return Array.Find(found, address => !rules.Allows(address)) is not null
                ? $"{url.IdnHost} is a private address or one of this machine, and not allowed here"
            : url.Scheme != Uri.UriSchemeHttps && !Array.TrueForAll(found, rules.IsNamed)
                ? "it must be an https address"
            : null;
    }

    /// <summary>Opens a connection; for <see cref="SocketsHttpHandler.ConnectCallback"/>.</summary>
    public async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        var (host, port) = (context.DnsEndPoint.Host, context.DnsEndPoint.Port);
        var plain = context.InitialRequestMessage.RequestUri!.Scheme != Uri.UriSchemeHttps;
        var found = await FindAsync(host, cancel);
        var allowed = Array.FindAll(found, address => plain ? rules.IsNamed(address) : rules.Allows(address));
        if (allowed.Length == 0)
        {
            throw new HttpRequestException($"{host} has no address that hooks may lead to");
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(allowed, port, cancel);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private Task<IPAddress[]> FindAsync(string host, CancellationToken cancel) =>
        IPAddress.TryParse(host, out var address) ? Task.FromResult(new[] { address }) : lookup(host, cancel);
}
