using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>The sample of a build site: curl, jq, openssl, socat and buildah, told by a hook of the registry what waits.</summary>
public sealed class HookSiteTests(Machine machine, HookServer server) : IClassFixture<HookServer>
{
    [Fact]
    public async Task Site_of_ordinary_tools_hears_of_a_recipe_builds_it_and_pushes_the_image()
    {
        foreach (var tool in new[] { "buildah", "skopeo", "jq", "openssl", "socat", "curl" })
            machine.Needs(tool);
        var image = $"{server.Host}/base/busybox:1";
        machine
            .RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                $"oci:{BaseImages.Busybox(machine)}:latest",
                $"docker://{image}"
            )
            .Ok();
        await using var site = await HookSite.StartAsync(machine, server);
        using var hook = await server.Http.PostAsync(
            "/v2/hpc/app/_build/v1/hooks",
            new StringContent(new JsonObject { ["url"] = site.Url, ["secret"] = site.Secret }.ToJsonString())
        );
        Assert.True(hook.StatusCode == HttpStatusCode.Created, await hook.Content.ReadAsStringAsync());

        var recipe = $"FROM {image}\nARG WHO\nRUN echo \"hello $WHO\" > /hello\nCMD [\"cat\", \"/hello\"]\n";
        var job = await Builds.BuildOkAsync(server, "hpc/app", "tag=1.0&arg.WHO=site", recipe);

        Assert.Contains("hello $WHO", await Builds.LogAsync(server, job));
        var ran = machine.RunAsUser(
            "skopeo",
            "inspect",
            "--config",
            "--tls-verify=false",
            $"docker://{server.Host}/hpc/app:1.0"
        );
        Assert.Equal("/hello", (string)JsonNode.Parse(ran.Ok().Output)!["config"]!["Cmd"]![1]!);
        // Whoever does not know the secret is not heard.
        Assert.Equal(HttpStatusCode.Unauthorized, await site.ForgeAsync());

        var failed = await Builds.BuildAsync(server, "hpc/app", "tag=2.0", $"FROM {image}\nRUN echo oh no; exit 7\n");

        Assert.Equal("recipe-error", (string)failed["reason"]!);
        Assert.Contains("oh no", (string)failed["message"]!);
        Assert.Equal(HttpStatusCode.NotFound, await Builds.ManifestStatusAsync(server, "hpc/app", "2.0"));
    }
}

/// <summary>A registry that builds nothing itself, and whose hooks may lead to this machine.</summary>
public sealed class HookServer(Machine machine) : Server(machine)
{
    private readonly string _file = Configuration(machine);

    protected override IReadOnlyList<string> Options => ["--no-builds", "--config", _file];

    private static string Configuration(Machine machine)
    {
        var folder = $"hooks-{Guid.NewGuid():N}";
        machine.WriteFile(
            """
            rules:
              - { who: everybody, repositories: "**", actions: [admin, lease] }
            """,
            folder,
            "policy.yaml"
        );
        return machine.WriteFile(
            """
            policy: policy.yaml
            events: { allow-addresses: [127.0.0.1] }
            """,
            folder,
            "kiln.yaml"
        );
    }
}

/// <summary>The sample, run as the ordinary user.</summary>
internal sealed class HookSite : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly Process _process;
    private readonly HttpClient _http = new() { Timeout = Patience };

    private HookSite(Process process, string url, string secret) => (_process, Url, Secret) = (process, url, secret);

    public string Url { get; }

    public string Secret { get; }

    public static async Task<HookSite> StartAsync(Machine machine, Server server)
    {
        var folder = $"site-{Guid.NewGuid():N}";
        var secret = "whsec_" + Convert.ToBase64String(Guid.NewGuid().ToByteArray().Concat(new byte[16]).ToArray());
        var secretFile = machine.WriteFile(secret + "\n", folder, "secret");
        var nodeFile = machine.WriteFile("", folder, "node");
        var port = Server.FreePort();
        string[] environment =
        [
            $"REGISTRY_URL=http://{server.Host}",
            $"SECRET_FILE={secretFile}",
            $"NODE_FILE={nodeFile}",
            $"STATE={machine.In(folder, "state")}",
            $"LISTEN=TCP-LISTEN:{port},bind=127.0.0.1",
            "TLS_VERIFY=false",
        ];
        var log = machine.In(folder, "log");
        var process = Process.Start(
            machine.AsUser([
                "sh",
                "-c",
                "exec \"$@\" >>\"$0\" 2>&1",
                log,
                "env",
                .. environment,
                machine.In("samples/hook/site"),
            ])
        )!;
        process.StandardInput.Close();
        var site = new HookSite(process, $"http://127.0.0.1:{port}/", secret);
        var clock = Stopwatch.StartNew();
        while (!await site.AnswersAsync())
        {
            if (process.HasExited || clock.Elapsed > Patience)
                Assert.Fail($"the site did not start:\n{(File.Exists(log) ? File.ReadAllText(log) : "(no log)")}");
            await Task.Delay(TimeSpan.FromMilliseconds(100));
        }

        return site;
    }

    /// <summary>Sends an event that somebody else has signed.</summary>
    public async Task<HttpStatusCode> ForgeAsync()
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, Url);
        request.Content = new StringContent("""{"data":{"claim":"http://example.org/"}}""", Encoding.UTF8);
        request.Headers.Add("webhook-id", "forged");
        request.Headers.Add("webhook-timestamp", $"{TimeProvider.System.GetUtcNow().ToUnixTimeSeconds()}");
        request.Headers.Add("webhook-signature", "v1," + Convert.ToBase64String(new byte[32]));
        using var answer = await _http.SendAsync(request);
        return answer.StatusCode;
    }

    public async ValueTask DisposeAsync()
    {
        // It tells what it has started.
        using var kill = Process.Start("sh", ["-c", $"kill -TERM {_process.Id}"]);
        await kill.WaitForExitAsync();
        await _process.WaitForExitAsync().WaitAsync(Patience);
        _process.Dispose();
        _http.Dispose();
    }

    private async Task<bool> AnswersAsync()
    {
        try
        {
            using var answer = await _http.SendAsync(new HttpRequestMessage(HttpMethod.Options, Url));
            return answer.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }
}
