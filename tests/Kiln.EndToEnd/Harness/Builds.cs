using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Kiln.EndToEnd.Harness;

/// <summary>What tests do with the <c>_build</c> extension, over plain HTTP as any client would.</summary>
internal static class Builds
{
    private const int BuildSeconds = 600;

    /// <summary>The curl way: a recipe as the body.</summary>
    public static Task<HttpResponseMessage> PostRecipeAsync(
        Server server,
        string repository,
        string query,
        string recipe
    ) =>
        server.Http.PostAsync(
            $"/v2/{repository}/_build/v1/jobs?{query}",
            new StringContent(recipe, Encoding.UTF8, new MediaTypeHeaderValue("text/x-dockerfile"))
        );

    /// <summary>Requests a build and waits for its end.</summary>
    public static async Task<JsonNode> BuildAsync(Server server, string repository, string query, string recipe)
    {
        using var answer = await PostRecipeAsync(server, repository, query, recipe);
        var body = await answer.Content.ReadAsStringAsync();
        Assert.True(
            answer.StatusCode is HttpStatusCode.Accepted or HttpStatusCode.OK,
            $"{(int)answer.StatusCode}: {body}"
        );
        return await WaitAsync(server, answer.Headers.Location!.ToString());
    }

    /// <summary>Requests a build that has to succeed.</summary>
    public static async Task<JsonNode> BuildOkAsync(Server server, string repository, string query, string recipe) =>
        await SucceededAsync(server, await BuildAsync(server, repository, query, recipe));

    public static async Task<JsonNode> SucceededAsync(Server server, JsonNode job)
    {
        if (Text(job, "state") != "succeeded")
            Assert.Fail($"{job}\n{await LogAsync(server, job)}\n--- the server's log\n{server.Log()}");
        return job;
    }

    /// <summary>Asks for the job until it is done, with <c>Prefer: wait</c>.</summary>
    public static async Task<JsonNode> WaitAsync(Server server, string href)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(BuildSeconds));
        while (true)
        {
            var job = await JobAsync(server, href, "wait=20", patience.Token);
            if (job["done"]!.GetValue<bool>())
                return job;
        }
    }

    /// <summary>Asks for the job until it is in this state, or done.</summary>
    public static async Task<JsonNode> WaitForStateAsync(Server server, string href, string state)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(BuildSeconds));
        while (true)
        {
            var job = await JobAsync(server, href, "wait=0", patience.Token);
            if (Text(job, "state") == state || job["done"]!.GetValue<bool>())
                return job;
            await Task.Delay(TimeSpan.FromMilliseconds(50), patience.Token);
        }
    }

    public static Task<string> LogAsync(Server server, JsonNode job) =>
        server.Http.GetStringAsync(job["links"]!["logs"]!.GetValue<string>());

    /// <summary>Waits until the log holds a text: the build has got that far. Fails where the job ends without it.</summary>
    public static async Task WaitForLogAsync(Server server, JsonNode job, string text)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(BuildSeconds));
        for (var done = false; ; )
        {
            var log = await LogAsync(server, job);
            if (log.Contains(text, StringComparison.Ordinal))
                return;
            Assert.False(done, $"the job ended before its log had '{text}':\n{log}\n{job}");
            await Task.Delay(TimeSpan.FromMilliseconds(100), patience.Token);
            job = await JobAsync(server, Text(job, "href")!, "wait=0", patience.Token);
            done = job["done"]!.GetValue<bool>();
        }
    }

    /// <summary>Deletes all of a product: tag, index, manifests and their blobs.</summary>
    public static async Task DeleteImageAsync(Server server, string repository, JsonNode job, string tag)
    {
        var image = job["result"]!["outputs"]![0]!["manifest"]!["digest"]!.GetValue<string>();
        var manifest = JsonNode.Parse(await server.Http.GetStringAsync($"/v2/{repository}/manifests/{image}"))!;
        string[] paths =
        [
            $"manifests/{tag}",
            $"manifests/{job["result"]!["manifest"]!["digest"]}",
            $"manifests/{image}",
            .. manifest["layers"]!.AsArray().Select(layer => $"blobs/{layer!["digest"]}"),
        ];
        foreach (var path in paths)
        {
            using var answer = await server.Http.DeleteAsync($"/v2/{repository}/{path}");
            Assert.True(
                answer.StatusCode == HttpStatusCode.Accepted,
                $"{path}: {await answer.Content.ReadAsStringAsync()}"
            );
        }
    }

    /// <summary>A member of a job as text; null where it is absent or null.</summary>
    public static string? Text(JsonNode node, string member) => node[member]?.GetValue<string>();

    public static async Task<HttpStatusCode> ManifestStatusAsync(Server server, string repository, string reference)
    {
        using var answer = await server.Http.GetAsync($"/v2/{repository}/manifests/{reference}");
        return answer.StatusCode;
    }

    /// <summary>Pulls an image with podman and runs it; the output of its program.</summary>
    public static string RunImage(Machine machine, string image) =>
        machine.RunAsUser(machine.In("eng/run-image"), machine.In("run-image"), image).Ok().Output;

    /// <summary>Copies an image out with skopeo and unpacks its layers in order into a directory of the ordinary user.</summary>
    public static string Unpack(Machine machine, string image)
    {
        var directory = $"unpacked-{Guid.NewGuid():N}";
        machine
            .RunAsUser(
                "bash",
                "-euc",
                """
                mkdir -p "$1/root"
                skopeo copy -q --src-tls-verify=false "docker://$2" "dir:$1/image"
                for layer in $(jq -r '.layers[].digest | sub("sha256:"; "")' "$1/image/manifest.json"); do
                    tar -t -z -f "$1/image/$layer" | sed -n 's#^\(.*/\|\)\.wh\.#\1#p' | (cd "$1/root" && xargs -r -d '\n' rm -rf --)
                    tar -x -z --no-same-owner --exclude='dev/*' --exclude='.wh.*' -C "$1/root" -f "$1/image/$layer"
                done
                """,
                "unpack",
                directory,
                image
            )
            .Ok();
        return machine.In(directory, "root");
    }

    private static async Task<JsonNode> JobAsync(Server server, string href, string prefer, CancellationToken cancel)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, href);
        request.Headers.Add("Prefer", prefer);
        using var answer = await server.Http.SendAsync(request, cancel);
        var body = await answer.Content.ReadAsStringAsync(cancel);
        Assert.True(answer.IsSuccessStatusCode, $"{href}: {(int)answer.StatusCode}: {body}");
        return JsonNode.Parse(body)!;
    }
}
