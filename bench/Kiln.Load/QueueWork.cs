using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Text.Json.Nodes;

namespace Kiln.Load;

/// <summary>A long queue and many nodes that poll it; each takes what it gets, and says at once that the recipe is at fault.</summary>
internal static class QueueWork
{
    private const int Repositories = 20;
    private const string Failed = """{"state":"failed","reason":"recipe-error","message":"measured","exitCode":1}""";

    public static async Task RunAsync(Registry registry, string address, int jobs, int nodes, int pid)
    {
        // What can be built may be asked for once a node has asked for work.
        if (await ClaimAsync(registry, 0) is not null)
        {
            throw new InvalidOperationException("the queue is not empty");
        }

        await using var memory = new MemoryWatch(pid);
        var clock = Stopwatch.StartNew();
        var submitted = new ConcurrentDictionary<string, int>();
        await Parallel.ForAsync(
            0,
            jobs,
            new ParallelOptions { MaxDegreeOfParallelism = 16 },
            async (n, _) =>
            {
                var job = await registry.SubmitAsync(
                    $"load/queue-{n % Repositories}",
                    Registry.Job("FROM scratch\nARG N\nLABEL n=$N\n", argument: $"{n}")
                );
                submitted[(string)job["tasks"]![0]!["execution"]!] = n;
            }
        );
        Figures.Write("queue", "jobs", submitted.Count, "");
        Figures.Write("queue", "submitted", jobs / clock.Elapsed.TotalSeconds, "jobs/s");
        Figures.Write("queue", "memory before", memory.First, "MiB");
        Figures.Write("queue", "memory, all queued", memory.Last, "MiB");

        clock.Restart();
        var claimed = new ConcurrentDictionary<string, int>();
        var times = new ConcurrentBag<double>();
        var order = 0;
        var displaced = 0;
        await Task.WhenAll(
            Enumerable
                .Range(0, nodes)
                .Select(async node =>
                {
                    using var own = new Registry(address);
                    while (await ClaimAsync(own, node) is var (execution, milliseconds))
                    {
                        times.Add(milliseconds);
                        claimed.AddOrUpdate(execution, 1, (_, before) => before + 1);
                        var late = Interlocked.Increment(ref order) - submitted.GetValueOrDefault(execution);
                        InterlockedMax(ref displaced, late);
                    }
                })
        );
        // The last answers of all nodes say that nothing came for a second.
        Figures.Write("queue", "claims", order / (clock.Elapsed.TotalSeconds - 1), "claims/s");
        Figures.Times("queue, one claim", times);
        Figures.Write("queue", "claimed twice", claimed.Values.Count(n => n > 1), "");
        Figures.Write("queue", "never claimed", submitted.Keys.Count(e => !claimed.ContainsKey(e)), "");
        Figures.Write("queue", "later than its turn by at most", displaced, "claims");
        Figures.Write("queue", "memory, most", memory.Peak, "MiB");
        Figures.Write("queue", "memory after", memory.Last, "MiB");
    }

    /// <summary>Takes a lease and ends it; null where nothing was to be had for a second.</summary>
    private static async Task<(string Execution, double Milliseconds)?> ClaimAsync(Registry registry, int node)
    {
        var offer = new JsonObject
        {
            ["node"] = $"node{node}",
            ["platforms"] = new JsonArray("linux/amd64"),
            ["recipes"] = new JsonArray("dockerfile"),
            ["outputs"] = new JsonArray("oci"),
        };
        var from = Stopwatch.GetTimestamp();
        using var response = await registry.SendAsync(HttpMethod.Post, "/v2/_build/v1/leases", offer, "wait=1");
        var took = Stopwatch.GetElapsedTime(from).TotalMilliseconds;
        if (response.StatusCode == HttpStatusCode.NoContent)
        {
            return null;
        }

        var lease = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        using var ended = await registry.SendAsync(
            HttpMethod.Put,
            $"{response.Headers.Location}/result",
            JsonNode.Parse(Failed),
            token: (string)lease["auth"]!["token"]!
        );
        return ended.IsSuccessStatusCode
            ? ((string)lease["execution"]!, took)
            : throw new InvalidOperationException(
                $"result: {(int)ended.StatusCode} {await ended.Content.ReadAsStringAsync()}"
            );
    }

    private static void InterlockedMax(ref int target, int value)
    {
        for (
            var seen = Volatile.Read(ref target);
            value > seen && Interlocked.CompareExchange(ref target, value, seen) != seen;
            seen = Volatile.Read(ref target)
        ) { }
    }
}
