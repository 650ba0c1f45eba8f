using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;

namespace Kiln.Load;

/// <summary>
/// From the end of a recipe's last step to the tag and to the hook. The step says by the machine's own clock when it ended,
/// to a hundredth of a second; what the engine does after that (it commits the layer) is in the time.
/// </summary>
internal static class FinishWork
{
    public static async Task RunAsync(Registry registry, int runs)
    {
        using var listener = new HttpListener();
        var port = FreePort();
        listener.Prefixes.Add($"http://127.0.0.1:{port}/");
        listener.Start();
        var events = new Dictionary<string, TaskCompletionSource<double>>();
        _ = ReceiveAsync(listener, events);
        await registry.JsonAsync(
            HttpMethod.Post,
            "/v2/load/finish/_build/v1/hooks",
            new JsonObject { ["url"] = $"http://127.0.0.1:{port}/hook", ["events"] = new JsonArray("job.succeeded") }
        );
        var tags = new List<double>();
        var hooks = new List<double>();
        for (var run = 0; run < runs; run++)
        {
            var heard = new TaskCompletionSource<double>();
            lock (events)
            {
                events.Clear();
                events["next"] = heard;
            }

            var recipe = $"FROM {registry.Host}/base:1\nRUN echo {run} >/run-{run}; echo ended $(cat /proc/uptime)\n";
            var job = await registry.SubmitAsync("load/finish", Registry.Job(recipe, tag: $"run-{run}"));
            // A pull of a tag that a build is to move is held, and answered as soon as it is there (section 14).
            using var head = await registry.SendAsync(HttpMethod.Head, $"/v2/load/finish/manifests/run-{run}");
            var visible = Uptime();
            head.EnsureSuccessStatusCode();
            var told = await heard.Task.WaitAsync(TimeSpan.FromSeconds(60));
            var ended = await registry.SucceededAsync(job);
            var step = await StepEndAsync(registry, ended);
            tags.Add((visible - step) * 1000);
            hooks.Add((told - step) * 1000);
        }

        Figures.Write("finish", "builds", runs, "");
        Figures.Write("finish", "last step to tag, median", Figures.Median(tags), "ms");
        Figures.Write("finish", "last step to tag, largest", tags.Max(), "ms");
        Figures.Write("finish", "last step to hook, median", Figures.Median(hooks), "ms");
        Figures.Write("finish", "last step to hook, largest", hooks.Max(), "ms");
    }

    private static async Task<double> StepEndAsync(Registry registry, JsonNode job)
    {
        using var response = await registry.SendAsync(HttpMethod.Get, (string)job["links"]!["logs"]!);
        var log = await response.Content.ReadAsStringAsync();
        var words = log.Split('\n').Last(l => l.StartsWith("ended ", StringComparison.Ordinal)).Split(' ');
        return double.Parse(words[1], CultureInfo.InvariantCulture);
    }

    private static double Uptime() =>
        double.Parse(File.ReadAllText("/proc/uptime").Split(' ')[0], CultureInfo.InvariantCulture);

    private static async Task ReceiveAsync(
        HttpListener listener,
        Dictionary<string, TaskCompletionSource<double>> events
    )
    {
        while (true)
        {
            var context = await listener.GetContextAsync();
            if (context.Request.HttpMethod == "POST")
            {
                var now = Uptime();
                lock (events)
                {
                    events.GetValueOrDefault("next")?.TrySetResult(now);
                }
            }

            context.Response.Headers["WebHook-Allowed-Origin"] = context.Request.Headers["WebHook-Request-Origin"];
            context.Response.StatusCode = 200;
            context.Response.Close();
        }
    }

    private static int FreePort()
    {
        using var socket = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        socket.Start();
        return ((IPEndPoint)socket.LocalEndpoint).Port;
    }
}
