using System.Diagnostics;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Fuzz;

/// <summary>Sends cases to a server and judges the answers, several at a time.</summary>
internal sealed class FuzzRun(IFuzzTarget target, int seed, TextWriter output)
{
    private const int Workers = 4;
    private const int RefreshAfter = 200;

    // Memory of warm code and pools, after which growth is looked at.
    private const int WarmUp = 1500;
    private const long MaxGrowth = 384L << 20;
    private const int MaxFaults = 10;

    // What a request that is right has to be answered in, on a machine that does other things too; others may wait for
    // more to come, until they are told that there is none.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan Moment = TimeSpan.FromSeconds(1);

    private readonly List<string> _faults = [];
    private readonly Lock _lock = new();
    private int _next;
    private long _memory;

    /// <summary>Sends <paramref name="count"/> cases, or as many as there is time for.</summary>
    /// <returns>What was wrong.</returns>
    public async Task<IReadOnlyList<string>> SendAsync(int count, TimeSpan time)
    {
        using var world = new FuzzWorld(target.Url);
        await world.FillAsync();
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, Workers).Select(_ => WorkAsync(world, count, clock, time)));
        await world.CheckAsync();
        var errors = target.Errors();
        if (errors.Count > 0)
        {
            Fault($"the server's log has {errors.Count} errors, the first: {errors[0]}");
        }

        var grown = (target.Memory() - _memory) >> 20;
        output.WriteLine(
            $"fuzz: {Math.Min(_next, count)} requests in {clock.Elapsed.TotalSeconds:0} s, seed {seed}, memory +{grown} MiB to {target.Memory() >> 20} MiB"
        );
        return _faults;
    }

    /// <summary>Sends one case.</summary>
    /// <returns>What was wrong; null for nothing.</returns>
    public async Task<string?> SendAsync(FuzzCase made, string session, string job)
    {
        var url = new Uri(target.Url);
        using var socket = new TcpClient();
        await socket.ConnectAsync(url.Host, url.Port);
        var stream = socket.GetStream();
        var answer = ReadAsync(socket, stream, made);
        try
        {
            await stream.WriteAsync(made.Bytes(session, job));
        }
        catch (IOException)
        {
            // It was refused before its end; the answer says why.
        }

        return (await answer) is { } came ? came.FaultFor(made) : "the server neither answers nor closes";
    }

    private static async Task<FuzzAnswer?> ReadAsync(TcpClient socket, NetworkStream stream, FuzzCase made)
    {
        var isHead = made.Method == "HEAD";
        using (var moment = new CancellationTokenSource(made.Framed && !made.IsFollowing ? Patience : Moment))
        {
            var answer = await FuzzAnswer.ReadAsync(stream, isHead, moment.Token);
            if (answer.Head.Length > 0 || !moment.IsCancellationRequested)
            {
                return answer;
            }
        }

        if (made.Framed)
        {
            return null;
        }

        // It waits for more; there is no more.
        socket.Client.Shutdown(SocketShutdown.Send);
        using var patience = new CancellationTokenSource(Patience);
        var late = await FuzzAnswer.ReadAsync(stream, isHead, patience.Token);
        return patience.IsCancellationRequested && late.Head.Length == 0 ? null : late;
    }

    private async Task WorkAsync(FuzzWorld world, int count, Stopwatch clock, TimeSpan time)
    {
        while (clock.Elapsed < time && _faults.Count < MaxFaults)
        {
            var index = Interlocked.Increment(ref _next) - 1;
            if (index >= count)
            {
                return;
            }

            if (index % RefreshAfter == RefreshAfter - 1)
            {
                await world.RefreshAsync();
                CheckMemory(index);
            }

            var made = FuzzRequests.Next(new Dice(seed, index));
            if (await SendAsync(made, world.SessionFor(index), world.Job) is { } fault)
            {
                Fault($"{fault}\n  seed {seed}, case {index}: {made.Curl(target.Url, Keep(made))}");
            }
        }
    }

    private void CheckMemory(int index)
    {
        var memory = target.Memory();
        lock (_lock)
        {
            if (index <= WarmUp || _memory == 0)
            {
                _memory = Math.Max(_memory, memory);
            }
            else if (memory > _memory + MaxGrowth)
            {
                _faults.Add($"after {index} cases the server has grown from {_memory >> 20} to {memory >> 20} MiB");
            }
        }
    }

    private void Fault(string what)
    {
        lock (_lock)
        {
            _faults.Add(what);
        }
    }

    // Where the next run finds it once it is moved to the samples.
    private static string Keep(FuzzCase made)
    {
        var directory = Directory.CreateDirectory(Path.Combine(SourceTree.Root, "artifacts", "fuzz")).FullName;
        var bytes = Encoding.Latin1.GetBytes(made.Text);
        var name = Convert.ToHexStringLower(SHA256.HashData(bytes).AsSpan(0, 6));
        var file = Path.Combine(directory, $"{name}{(made.Framed ? ".framed" : "")}.http");
        File.WriteAllBytes(file, bytes);
        return file;
    }
}
