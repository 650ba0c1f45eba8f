using System.Net;
using System.Net.Sockets;

namespace Kiln.Tests.Client;

/// <summary>
/// A port of this machine that answers as a host does whose firewall drops packets: not at all. Its queue of connections
/// that nobody has taken is full, and the kernel drops what asks for more.
/// </summary>
internal sealed class DeafHost : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly List<Socket> _waiting = [];

    private DeafHost() { }

    /// <summary>As <c>host:port</c>.</summary>
    public string Host => _listener.LocalEndPoint!.ToString()!;

    public static async Task<DeafHost> StartAsync()
    {
        var host = new DeafHost();
        host._listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        host._listener.Listen(0);
        for (var i = 0; i < 16; i++)
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            host._waiting.Add(socket);
            using var patience = new CancellationTokenSource(TimeSpan.FromMilliseconds(200));
            try
            {
                await socket.ConnectAsync(host._listener.LocalEndPoint!, patience.Token);
            }
            catch (OperationCanceledException)
            {
                return host;
            }
        }

        throw new InvalidOperationException("the kernel goes on taking connections");
    }

    public void Dispose()
    {
        _waiting.ForEach(socket => socket.Dispose());
        _listener.Dispose();
    }
}
