using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Kiln.EndToEnd.Harness;

/// <summary>A registry, a Slurm, and nodes that have builds done by it.</summary>
public sealed class SlurmSite : IAsyncLifetime
{
    private const string Types = """
        launcher: slurm
        types:
          - name: small
            platforms: [linux/amd64]
            cpus: 2
            memory: 2GiB
            time: 2h
            partition: build
            constraint: amd64&avx2
            backend: { partition: [build, urgent] }
          - name: large
            platforms: [linux/amd64]
            cpus: 4
            memory: 8GiB
            time: 3h
            partition: build
            constraint: bigmem
          - name: wrong
            platforms: [linux/arm64]
            time: 2h
            partition: build
            constraint: arm64
        """;

    private readonly Machine _machine;

    public SlurmSite(Machine machine)
    {
        _machine = machine;
        Server = new NodelessServer(machine);
        Slurm = new SlurmCluster(machine);
    }

    public Server Server { get; }
    public SlurmCluster Slurm { get; }

    public ValueTask InitializeAsync() => Server.InitializeAsync();

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        Slurm.Dispose();
    }

    /// <summary>Starts a node; skips the test where there is no Slurm.</summary>
    public Task<NodeProcess> NodeAsync() => NodeAsync(Types, []);

    /// <summary>Starts a node of other types of machines.</summary>
    /// <param name="types">Its configuration.</param>
    /// <param name="options">What else is said to it.</param>
    public async Task<NodeProcess> NodeAsync(string types, IReadOnlyList<string> options)
    {
        Slurm.Needs();
        var node = new NodeProcess(_machine, Server)
        {
            Options = ["--config", _machine.WriteFile(types, $"types-{Guid.NewGuid():N}", "node.yaml"), .. options],
            Variables = [Slurm.Variable],
        };
        await node.StartAsync();
        return node;
    }

    /// <summary>Asks for a build; the address of its job.</summary>
    /// <param name="slow">What its one step does before it makes the file.</param>
    /// <param name="with">Other members of the request.</param>
    public async Task<string> AskAsync(string repository, string slow, params (string Name, JsonNode Value)[] with)
    {
        using var answer = await PostAsync(repository, slow, with);
        Assert.True(answer.StatusCode == HttpStatusCode.Accepted, await answer.Content.ReadAsStringAsync());
        return answer.Headers.Location!.ToString();
    }

    /// <summary>Asks for a build that is to be refused; what it is told.</summary>
    public async Task<string> RefusedAsync(string repository, params (string Name, JsonNode Value)[] with)
    {
        using var answer = await PostAsync(repository, "true", with);
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        return await answer.Content.ReadAsStringAsync();
    }

    private async Task<HttpResponseMessage> PostAsync(
        string repository,
        string slow,
        (string Name, JsonNode Value)[] with
    )
    {
        var layout = BaseImages.Busybox(_machine);
        var name = BaseImages.Push(_machine, Server, layout, "library/busybox:latest");
        var recipe = $"FROM {name}\nRUN {slow}; echo whole >/made\nRUN echo {Guid.NewGuid():N}\n";
        var request = new JsonObject
        {
            ["recipe"] = new JsonObject
            {
                ["mediaType"] = "text/x-dockerfile",
                ["data"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(recipe)),
            },
            ["tags"] = new JsonArray("1"),
        };
        foreach (var (member, value) in with)
            request[member] = value;
        return await Server.Http.PostAsync(
            $"/v2/{repository}/_build/v1/jobs",
            new StringContent(request.ToJsonString(), Encoding.UTF8, new MediaTypeHeaderValue("application/json"))
        );
    }

    /// <summary>Asks for a build and waits until its step runs; its address, and the job at Slurm.</summary>
    public async Task<(string Href, string Job)> RunningAsync(string repository, string slow)
    {
        var href = await AskAsync(repository, slow);
        await Builds.WaitForLogAsync(Server, await Builds.WaitForStateAsync(Server, href, "running"), "STEP 2/");
        return (href, await Slurm.JobAsync("RUNNING"));
    }

    /// <summary>Waits until the job's first task says this in its progress.</summary>
    public async Task ProgressAsync(string href, string text)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (true)
        {
            var job = JsonNode.Parse(await Server.Http.GetStringAsync(href, patience.Token))!;
            if (job["tasks"]![0]!["progress"]?.GetValue<string>().Contains(text, StringComparison.Ordinal) is true)
                return;
            Assert.False(job["done"]!.GetValue<bool>(), job.ToString());
            await Task.Delay(TimeSpan.FromMilliseconds(200), patience.Token);
        }
    }

    public async Task IsWholeAsync(string repository)
    {
        var root = Builds.Unpack(_machine, $"{Server.Host}/{repository}:1");
        Assert.Equal("whole\n", await File.ReadAllTextAsync(Path.Combine(root, "made")));
    }

    /// <summary>Neither leases, with their credentials, nor what builds had on their machines' disks, is left.</summary>
    /// <param name="node">Whose builds.</param>
    /// <param name="ran">
    /// Whether a job ran: what an earlier one left that was killed without notice, the next one removes, and no other.
    /// </param>
    public static async Task LeavesNothingAsync(NodeProcess node, bool ran = true)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(90));
        var jobs = Path.Combine(node.DataDirectory, "jobs");
        while (
            Directory.EnumerateFileSystemEntries(jobs).Any()
            || (ran && Directory.EnumerateFileSystemEntries("/tmp", "kiln-job-*").Any())
        )
        {
            await Task.Delay(TimeSpan.FromMilliseconds(200), patience.Token);
        }
    }
}
