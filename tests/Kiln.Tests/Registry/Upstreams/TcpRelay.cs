using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace Kiln.Tests.Registry.Upstreams;

/// <summary>
/// A line to a real registry that a test can hold and cut: bytes that come from there stop after a number until they are
/// let through.
/// </summary>
internal sealed class TcpRelay : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly ConcurrentBag<TcpClient> _clients = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly int _target;
    private TaskCompletionSource _open = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _left = long.MaxValue;

    public TcpRelay(int target)
    {
        _target = target;
        _listener.Start();
        _ = AcceptAsync();
    }

    public string Host => $"127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";

    /// <summary>Lets so many more bytes come, and then holds the line.</summary>
    public void HoldAfter(long bytes)
    {
        _open = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Interlocked.Exchange(ref _left, bytes);
    }

    public void LetThrough()
    {
        Interlocked.Exchange(ref _left, long.MaxValue);
        _open.TrySetResult();
    }

    /// <summary>Breaks every connection; new ones are made.</summary>
    public void Cut()
    {
        while (_clients.TryTake(out var client))
        {
            try
            {
                // Null in one that was closed already.
                client.Client?.LingerState = new LingerOption(true, 0);
                client.Dispose();
            }
            catch (ObjectDisposedException)
            {
                // It was closed at this moment.
            }
        }
    }

    public void Dispose()
    {
        _stop.Cancel();
        LetThrough();
        Cut();
        _listener.Dispose();
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = ServeAsync(await _listener.AcceptTcpClientAsync(_stop.Token));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The test is over.
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        using var there = new TcpClient();
        _clients.Add(client);
        _clients.Add(there);
        try
        {
            await there.ConnectAsync(IPAddress.Loopback, _target);
            await Task.WhenAny(
                client.GetStream().CopyToAsync(there.GetStream()),
                ComeAsync(there.GetStream(), client.GetStream())
            );
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            // Either side is gone.
        }
        finally
        {
            client.Dispose();
        }
    }

    private async Task ComeAsync(Stream from, Stream to)
    {
        var buffer = new byte[16 << 10];
        for (int read; (read = await from.ReadAsync(buffer)) > 0; )
        {
            if (Interlocked.Add(ref _left, -read) < 0)
            {
                await _open.Task;
            }

            await to.WriteAsync(buffer.AsMemory(0, read));
        }
    }
}
