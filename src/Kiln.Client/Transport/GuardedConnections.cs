using System.Net;
using System.Net.Sockets;

namespace Kiln.Client.Transport;

/// <summary>A rule forbids every address of a host.</summary>
internal sealed class AddressRefusedException(string message) : Exception(message);

/// <summary>
/// Connects to addresses that a rule allows. The name is resolved here, and the connection goes to what was judged: a
/// name that stands for another address a moment later gains nothing.
/// </summary>
internal sealed class GuardedConnections(AddressRule rule)
{
    /// <inheritdoc cref="SocketsHttpHandler.ConnectCallback"/>
    public async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        var end = context.DnsEndPoint;
        var wanted = context.InitialRequestMessage.RequestUri!;
        var isProxy =
            end.Port != wanted.Port || !end.Host.Trim('[', ']').Equals(HostOf(wanted), StringComparison.Ordinal);
        if (isProxy && GuardedProxy.WhyNot(rule, wanted) is { } why)
        {
            throw new AddressRefusedException(why);
        }

        var addresses = await ResolveAsync(end.Host, cancel);
        var allowed = isProxy ? addresses : Require($"{end.Host}:{end.Port}", addresses);
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(allowed, end.Port, cancel);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static string HostOf(Uri uri) => uri.IdnHost.Trim('[', ']');

    private static async Task<IPAddress[]> ResolveAsync(string host, CancellationToken cancel) =>
        IPAddress.TryParse(host.Trim('[', ']'), out var address)
            ? [address]
            : await Dns.GetHostAddressesAsync(host, cancel);

    private IPAddress[] Require(string host, IPAddress[] addresses)
    {
        string? why = null;
        var allowed = new List<IPAddress>();
        foreach (var address in addresses)
        {
            if (rule(host, PublicAddress.Plain(address)) is { } fault)
            {
                why ??= fault;
            }
            else
            {
                allowed.Add(address);
            }
        }

        return allowed.Count > 0 ? [.. allowed] : throw new AddressRefusedException(why ?? $"{host} has no address");
    }
}
