using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Kiln.Load;

/// <summary>What the pieces of work say to the registry under measurement; it knows nothing of Kiln but the extension's text.</summary>
internal sealed class Registry : IDisposable
{
    private readonly HttpClient _http;

    public Registry(string address) =>
        _http = new HttpClient(new SocketsHttpHandler { PooledConnectionIdleTimeout = TimeSpan.FromMinutes(5) })
        {
            BaseAddress = new Uri(address),
            Timeout = TimeSpan.FromMinutes(10),
        };

    /// <summary>Host and port, as image names have it.</summary>
    public string Host => _http.BaseAddress!.Authority;

    public async Task<HttpResponseMessage> SendAsync(
        HttpMethod method,
        string path,
        JsonNode? body = null,
        string? prefer = null,
        string? token = null,
        HttpCompletionOption completion = HttpCompletionOption.ResponseContentRead
    )
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
        }

        if (prefer is not null)
        {
            request.Headers.Add("Prefer", prefer);
        }

        if (token is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        }

        return await _http.SendAsync(request, completion);
    }

    /// <summary>Sends, and reads the answer's JSON.</summary>
    /// <exception cref="InvalidOperationException">The answer is no success.</exception>
    public async Task<JsonNode> JsonAsync(HttpMethod method, string path, JsonNode? body = null, string? prefer = null)
    {
        using var response = await SendAsync(method, path, body, prefer);
        var text = await response.Content.ReadAsStringAsync();
        return response.IsSuccessStatusCode
            ? JsonNode.Parse(text)!
            : throw new InvalidOperationException($"{method} {path}: {(int)response.StatusCode} {text}");
    }

    /// <summary>A request for a build (build-extension, section 4).</summary>
    public static JsonObject Job(string recipe, string? tag = null, string? argument = null)
    {
        var job = new JsonObject
        {
            ["recipe"] = new JsonObject
            {
                ["mediaType"] = "text/x-dockerfile",
                ["data"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(recipe)),
            },
        };
        if (tag is not null)
        {
            job["tags"] = new JsonArray(tag);
        }

        if (argument is not null)
        {
            job["args"] = new JsonObject { ["N"] = argument };
        }

        return job;
    }

    public Task<JsonNode> SubmitAsync(string repository, JsonObject job) =>
        JsonAsync(HttpMethod.Post, $"/v2/{repository}/_build/v1/jobs", job);

    /// <summary>Waits until a job satisfies something, at most ten minutes.</summary>
    public async Task<JsonNode> WaitAsync(JsonNode job, Func<JsonNode, bool> enough)
    {
        var from = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(from) < TimeSpan.FromMinutes(10))
        {
            var now = await JsonAsync(HttpMethod.Get, (string)job["href"]!);
            if (enough(now))
            {
                return now;
            }

            await Task.Delay(50);
        }

        throw new InvalidOperationException($"waited ten minutes for {job["href"]}");
    }

    /// <summary>Waits for the end, which has to be a good one.</summary>
    public async Task<JsonNode> SucceededAsync(JsonNode job)
    {
        var ended = await WaitAsync(job, j => (bool)j["done"]!);
        return (string)ended["state"]! == "succeeded"
            ? ended
            : throw new InvalidOperationException($"{job["href"]} {ended["state"]}: {ended["message"]}");
    }

    /// <summary>Starts a build that keeps a processor busy for so long, and waits until its step runs.</summary>
    public async Task<JsonNode> BusyAsync(string repository, int seconds)
    {
        var job = await SubmitAsync(
            repository,
            Job($"FROM {Host}/base:1\nRUN echo started; timeout {seconds} sh -c 'while :; do :; done' || true\n")
        );
        await WaitAsync(job, j => (string?)j["tasks"]![0]!["phase"] == "building");
        return job;
    }

    public void Dispose() => _http.Dispose();
}
