using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Text.Json.Nodes;

namespace Kiln.Load;

/// <summary>
/// Requests at a fixed rate while a build keeps a processor busy. A request's time counts from when it was due, so that a
/// slow answer cannot hide behind the requests that it held up.
/// </summary>
internal static class SubmitWork
{
    public static async Task IdenticalAsync(Registry registry, int count)
    {
        var body = Registry.Job($"FROM {registry.Host}/base:1\nRUN sleep 2; echo once\n", tag: "1");
        var jobs = await Task.WhenAll(
            Enumerable.Range(0, count).Select(_ => registry.SubmitAsync("load/identical", (JsonObject)body.DeepClone()))
        );
        var ended = new List<JsonNode>();
        foreach (var job in jobs)
        {
            ended.Add(await registry.SucceededAsync(job));
        }

        Figures.Write("identical", "requests", jobs.Length, "");
        Figures.Write("identical", "jobs", jobs.Select(j => (string)j["id"]!).Distinct().Count(), "");
        Figures.Write(
            "identical",
            "builds",
            ended.Select(j => (string)j["tasks"]![0]!["execution"]!).Distinct().Count(),
            ""
        );
        Figures.Write(
            "identical",
            "products",
            ended.Select(j => (string)j["result"]!["manifest"]!["digest"]!).Distinct().Count(),
            ""
        );
    }

    public static async Task CachedAsync(Registry registry, int rate, int seconds)
    {
        var recipe = $"FROM {registry.Host}/base:1\nRUN echo cached\n";
        await registry.SucceededAsync(await registry.SubmitAsync("load/cached", Registry.Job(recipe, tag: "1")));
        await registry.BusyAsync("load/busy", seconds + 10);
        await AtRateAsync(
            "cached",
            rate,
            seconds,
            HttpStatusCode.OK,
            _ => registry.SendAsync(HttpMethod.Post, "/v2/load/cached/_build/v1/jobs", Registry.Job(recipe, tag: "1"))
        );
    }

    public static async Task NewAsync(Registry registry, int rate, int seconds)
    {
        var recipe = $"FROM {registry.Host}/base:1\nARG N\nRUN echo $N\n";
        await registry.BusyAsync("load/busy", seconds + 10);
        await AtRateAsync(
            "submit",
            rate,
            seconds,
            HttpStatusCode.Accepted,
            n =>
                registry.SendAsync(
                    HttpMethod.Post,
                    "/v2/load/submit/_build/v1/jobs",
                    Registry.Job(recipe, tag: "1", argument: $"{n}")
                )
        );
    }

    private static async Task AtRateAsync(
        string work,
        int rate,
        int seconds,
        HttpStatusCode expected,
        Func<int, Task<HttpResponseMessage>> send
    )
    {
        // Connections and code that nobody has used yet are not what is asked about.
        for (var n = 0; n < rate; n++)
        {
            (await send(-1 - n)).Dispose();
        }

        var times = new ConcurrentBag<double>();
        var others = 0;
        var clock = Stopwatch.StartNew();
        async Task OneAsync(int n)
        {
            using var response = await send(n);
            times.Add(clock.Elapsed.TotalMilliseconds - (n * 1000.0 / rate));
            if (response.StatusCode != expected)
            {
                Interlocked.Increment(ref others);
            }
        }

        var running = new List<Task>();
        for (var n = 0; n < rate * seconds; n++)
        {
            var wait = TimeSpan.FromMilliseconds(n * 1000.0 / rate) - clock.Elapsed;
            if (wait > TimeSpan.Zero)
            {
                await Task.Delay(wait);
            }

            running.Add(OneAsync(n));
        }

        await Task.WhenAll(running);
        Figures.Write(work, "rate", rate * seconds / clock.Elapsed.TotalSeconds, "requests/s");
        Figures.Times(work, times);
        Figures.Write(work, $"answers other than {(int)expected}", others, "");
    }
}
