using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Kiln.Load;

/// <summary>One live log and those who watch it. A tenth of them read nothing after the first piece.</summary>
internal static class ViewerWork
{
    // About a thousand lines of 60 bytes each second.
    private const string Lines =
        "i=0; while [ $i -lt 150 ]; do j=0; while [ $j -lt 100 ]; do echo \"line $i $j of a log that many people watch at a time, live\"; j=$((j+1)); done; i=$((i+1)); sleep 0.1; done";

    public static async Task RunAsync(Registry registry, string address, int viewers, int rounds, int pid)
    {
        var alone = new List<double>();
        var watched = new List<double>();
        double peak = 0;
        double before = 0;
        for (var round = 0; round < rounds; round++)
        {
            alone.Add((await BuildAsync(registry, address, 0, $"alone {round}")).Milliseconds);
            await using var memory = new MemoryWatch(pid);
            watched.Add((await BuildAsync(registry, address, viewers, $"watched {round}")).Milliseconds);
            before = Math.Max(before, memory.First);
            peak = Math.Max(peak, memory.Peak);
        }

        Figures.Write("viewers", "viewers", viewers, "");
        Figures.Write("viewers", "build that nobody watches, median", Figures.Median(alone), "ms");
        Figures.Write("viewers", "build that all watch, median", Figures.Median(watched), "ms");
        Figures.Write("viewers", "watched to not", Figures.Median(watched) / Figures.Median(alone), "");
        Figures.Write("viewers", "memory before", before, "MiB");
        Figures.Write("viewers", "memory, most", peak, "MiB");
    }

    private static async Task<(double Milliseconds, long Bytes)> BuildAsync(
        Registry registry,
        string address,
        int viewers,
        string name
    )
    {
        var job = await registry.SubmitAsync(
            "load/viewers",
            Registry.Job($"FROM {registry.Host}/base:1\nRUN : {name}; {Lines}\n")
        );
        await registry.WaitAsync(job, j => (string?)j["tasks"]![0]!["phase"] == "building");
        using var own = new Registry(address);
        using var stop = new CancellationTokenSource();
        var path = $"{job["links"]!["logs"]}?follow=1";
        var reading = Enumerable
            .Range(0, viewers)
            .Select(n => n % 10 == 0 ? StallAsync(own, path, stop.Token) : ReadAsync(own, path))
            .ToList();
        var ended = await registry.SucceededAsync(job);
        await Task.WhenAll(reading.Where((_, n) => n % 10 != 0));
        var sizes = reading.Where((_, n) => n % 10 != 0).Select(r => r.Result).Distinct().ToList();
        await stop.CancelAsync();
        if (sizes.Count > 1)
        {
            throw new InvalidOperationException($"viewers saw logs of {string.Join(", ", sizes)} bytes");
        }

        return (Took(ended), sizes.FirstOrDefault());
    }

    private static double Took(JsonNode job) =>
        ((DateTimeOffset)job["finished"]! - (DateTimeOffset)job["started"]!).TotalMilliseconds;

    private static async Task<long> ReadAsync(Registry registry, string path)
    {
        using var response = await registry.SendAsync(
            HttpMethod.Get,
            path,
            completion: HttpCompletionOption.ResponseHeadersRead
        );
        response.EnsureSuccessStatusCode();
        await using var body = await response.Content.ReadAsStreamAsync();
        var buffer = new byte[16384];
        long bytes = 0;
        for (int read; (read = await body.ReadAsync(buffer)) > 0; bytes += read) { }
        return bytes;
    }

    private static async Task<long> StallAsync(Registry registry, string path, CancellationToken stop)
    {
        using var response = await registry.SendAsync(
            HttpMethod.Get,
            path,
            completion: HttpCompletionOption.ResponseHeadersRead
        );
        await Task.Delay(Timeout.Infinite, stop).ContinueWith(_ => { }, TaskScheduler.Default);
        return 0;
    }
}
