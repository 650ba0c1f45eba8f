using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Cli;
using Kiln.Tests.Client;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Cli;

/// <summary>A registry that builds one job, <c>j1</c> of repository <c>a</c>, as a test says.</summary>
internal sealed class BuildRegistry : IAsyncDisposable
{
    private const string Info =
        """{"categories":[],"recipes":[],"platforms":["linux/amd64"],"microarchitectures":["site-own"],"outputs":[],"trigger":{"onPush":"on"},"limits":{"maxWaitSeconds":50,"maxJobSeconds":9,"maxQueueSeconds":9,"maxContextBytes":1000000,"maxInlineRecipeBytes":9,"maxLogBytes":9},"engines":[],"networks":[]}""";

    /// <summary>Set on a request for a log that gets no end.</summary>
    public const string Cut = "cut";

    private readonly TestRegistry _registry;
    private readonly StringWriter _out = new();
    private readonly StringWriter _error = new();
    private int _revision;

    private BuildRegistry(TestRegistry registry)
    {
        _registry = registry;
        _registry.Intercept = AnswerAsync;
    }

    /// <summary>The job as it is now: its state and its tasks.</summary>
    public (string State, JsonArray Tasks) Job { get; set; } = ("queued", [Task("t1")]);

    /// <summary>Writes a task's events; the end of the stream is written after it.</summary>
    public Func<HttpContext, string, Task> Log { get; set; } = (_, _) => System.Threading.Tasks.Task.CompletedTask;

    /// <summary>Called first for each request; true where it gave the answer.</summary>
    public Func<HttpContext, bool> Intercept { get; set; } = _ => false;

    /// <summary>Gets what a build was asked for.</summary>
    public Action<JobRequest> Asked { get; set; } = _ => { };

    public TimeProvider Time { get; set; } = TimeProvider.System;
    public string Host => _registry.Host;
    public string Out => _out.ToString();
    public string Error => _error.ToString();
    public TestRegistry Registry => _registry;

    public static async Task<BuildRegistry> StartAsync() => new(await TestRegistry.StartAsync());

    public async ValueTask DisposeAsync()
    {
        await _registry.DisposeAsync();
        _out.Dispose();
        _error.Dispose();
    }

    /// <summary>A task of a job; of a format where it is not the image.</summary>
    public static JsonObject Task(string id, string format = "oci", string state = "running") =>
        new()
        {
            ["id"] = id,
            ["platform"] = "linux/amd64",
            ["format"] = format,
            ["state"] = state,
            ["attempt"] = 1,
            ["key"] = "k",
            ["execution"] = id,
            ["logs"] = "x",
        };

    public static Task EventAsync(HttpContext http, string name, JsonObject data, long? id = null) =>
        http.Response.WriteAsync($"{(id is null ? "" : $"id: {id}\n")}event: {name}\ndata: {data.ToJsonString()}\n\n");

    /// <summary>Runs a command. One that follows without an end is given up.</summary>
    public Task<int> RunAsync(params string[] arguments) =>
        CommandLine
            .RunAsync(arguments, TestShell.Create(_out, _error, "FROM scratch\n") with { Time = Time })
            .WaitAsync(TimeSpan.FromSeconds(30));

    /// <summary>Builds a recipe from standard input.</summary>
    public Task<int> BuildAsync(params string[] more) => RunAsync(["build", "-t", $"{Host}/a:1", .. more, "-"]);

    private async Task<bool> AnswerAsync(HttpContext http)
    {
        if (Intercept(http))
        {
            return true;
        }

        var path = http.Request.Path.Value!;
        if (path.EndsWith("/info", StringComparison.Ordinal))
        {
            await http.Response.WriteAsync(Info);
        }
        else if (path.EndsWith("/logs", StringComparison.Ordinal))
        {
            http.Response.ContentType = "text/event-stream";
            await Log(http, http.Request.Query["task"].ToString());
            if (!http.Items.ContainsKey(Cut))
            {
                await EventAsync(http, "end", []);
            }
        }
        else if (path.EndsWith("/jobs", StringComparison.Ordinal) && http.Request.Method == "GET")
        {
            await http.Response.WriteAsync(new JsonObject { ["jobs"] = new JsonArray(Document()) }.ToJsonString());
        }
        else if (path.Contains("/jobs", StringComparison.Ordinal))
        {
            if (http.Request.Method == "POST")
            {
                Asked((await http.Request.ReadFromJsonAsync(BuildJson.Default.JobRequest))!);
            }

            await http.Response.WriteAsync(Document().ToJsonString());
        }
        else
        {
            return false;
        }

        return true;
    }

    private JsonObject Document()
    {
        var job = JsonNode
            .Parse(
                """{"id":"j1","repository":"a","href":"/v2/a/_build/v1/jobs/j1","created":"2026-01-01T00:00:00Z","createdBy":"me","trigger":"request","tags":["1"],"links":{"logs":"x","cancel":"x"}}"""
            )!
            .AsObject();
        var done = Job.State == "succeeded";
        job["recipe"] = new JsonObject { ["digest"] = $"{Oci.Digest.EmptyJson}", ["type"] = "dockerfile" };
        job["revision"] = ++_revision;
        job["state"] = Job.State;
        job["done"] = done;
        job["tasks"] = Job.Tasks.DeepClone();
        job["result"] = done
            ? new JsonObject
            {
                ["manifest"] = new JsonObject
                {
                    ["mediaType"] = "x/y",
                    ["digest"] = $"{Oci.Digest.EmptyJson}",
                    ["size"] = 2,
                },
                ["tags"] = new JsonArray("1"),
                ["outputs"] = new JsonArray(),
            }
            : null;
        return job;
    }
}
