using System.Net.Sockets;
using System.Text;

namespace Kiln.Tests.Registry;

/// <summary>A client that sends what no HTTP library would.</summary>
internal sealed class RawClient : IAsyncDisposable
{
    private readonly TcpClient _socket = new();

    /// <summary>Connects to the server at an address such as <c>http://127.0.0.1:5000</c>.</summary>
    public static async Task<RawClient> ConnectAsync(string url)
    {
        var client = new RawClient();
        await client._socket.ConnectAsync("127.0.0.1", new Uri(url).Port);
        return client;
    }

    /// <summary>Sends text, one byte for each character.</summary>
    public Task SendAsync(string latin1) => SendAsync(Encoding.Latin1.GetBytes(latin1));

    public async Task SendAsync(ReadOnlyMemory<byte> bytes) => await _socket.GetStream().WriteAsync(bytes);

    /// <summary>
    /// One answer with its headers and as much of its body as its length says, one character for each byte; what came
    /// where the server closes before that.
    /// </summary>
    public async Task<string> ReceiveAsync(bool head = false)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        var received = new StringBuilder();
        var buffer = new byte[16 << 10];
        while (!IsWhole(received.ToString(), head))
        {
            int read;
            try
            {
                read = await _socket.GetStream().ReadAsync(buffer, patience.Token);
            }
            catch (IOException)
            {
                break;
            }

            if (read == 0)
            {
                break;
            }

            received.Append(Encoding.Latin1.GetString(buffer, 0, read));
        }

        return received.ToString();
    }

    public ValueTask DisposeAsync()
    {
        _socket.Dispose();
        return ValueTask.CompletedTask;
    }

    private static bool IsWhole(string text, bool head)
    {
        const string length = "\r\nContent-Length: ";
        var end = text.IndexOf("\r\n\r\n", StringComparison.Ordinal);
        if (end < 0)
        {
            return false;
        }

        var at = text.IndexOf(length, StringComparison.OrdinalIgnoreCase);
        if (head || at < 0 || at > end)
        {
            return head
                || !text[..end].Contains("chunked", StringComparison.OrdinalIgnoreCase)
                || text.EndsWith("\r\n0\r\n\r\n", StringComparison.Ordinal);
        }

        var digits = text[(at + length.Length)..].Split('\r')[0];
        return text.Length - end - 4 >= int.Parse(digits, System.Globalization.CultureInfo.InvariantCulture);
    }
}
