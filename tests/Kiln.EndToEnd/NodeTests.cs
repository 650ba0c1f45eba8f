using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>
/// A build node in a process of its own, which speaks HTTP to the registry: builds, restarts of either side at any moment.
/// </summary>
public sealed class NodeTests(Machine machine, NodelessServer server) : IClassFixture<NodelessServer>
{
    [Fact]
    public async Task Build_is_done_by_a_node_that_only_dials_out()
    {
        await using var node = new NodeProcess(machine, server);
        await node.StartAsync();
        var repository = $"node/plain-{Guid.NewGuid():N}";

        var job = await Builds.BuildOkAsync(server, repository, "tag=1", Recipe());

        await IsWholeAsync(job, repository);
        Assert.StartsWith("uid:", job["tasks"]![0]!["node"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.Contains("STEP 2/", await Builds.LogAsync(server, job), StringComparison.Ordinal);
        // The base's layers were in the registry: the node has not sent them back to it, in another repository.
        var again = await Builds.BuildOkAsync(server, repository, "tag=2&arg.X=1", Recipe());
        Assert.Equal("succeeded", Builds.Text(again, "state"));
    }

    [Fact]
    public async Task Server_killed_at_any_time_takes_the_build_that_went_on_meanwhile()
    {
        await using var node = new NodeProcess(machine, server);
        await node.StartAsync();
        for (var i = 0; i < 2; i++)
        {
            var repository = $"node/server-{Guid.NewGuid():N}";
            using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", Recipe());
            var href = answer.Headers.Location!.ToString();
            await Builds.WaitForStateAsync(server, href, "running");
            await Task.Delay(Random.Shared.Next(0, 2500));

            await server.KillAsync();
            await Task.Delay(Random.Shared.Next(0, 3000));
            await server.StartAsync();

            var job = await Builds.SucceededAsync(server, await Builds.WaitAsync(server, href));
            await IsWholeAsync(job, repository);
            Assert.True(job["tasks"]![0]!["attempt"]!.GetValue<int>() == 1, $"{job}\n{node.Log()}");
        }
    }

    [Fact]
    public async Task Node_killed_at_any_time_loses_an_attempt_and_nothing_else()
    {
        await using var node = new NodeProcess(machine, server);
        await node.StartAsync();
        for (var i = 0; i < 2; i++)
        {
            var repository = $"node/node-{Guid.NewGuid():N}";
            using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", Recipe());
            var href = answer.Headers.Location!.ToString();
            await Builds.WaitForStateAsync(server, href, "running");
            await Task.Delay(Random.Shared.Next(0, 2500));

            await node.KillAsync();
            await node.StartAsync();

            await IsWholeAsync(await Builds.SucceededAsync(server, await Builds.WaitAsync(server, href)), repository);
        }
    }

    [Fact]
    public async Task Node_that_is_stopped_gives_its_build_back_at_once()
    {
        await using var node = new NodeProcess(machine, server);
        await node.StartAsync();
        var repository = $"node/stop-{Guid.NewGuid():N}";
        using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", Recipe("sleep 20"));
        var href = answer.Headers.Location!.ToString();
        await Builds.WaitForLogAsync(server, await Builds.WaitForStateAsync(server, href, "running"), "STEP 2/");

        await node.StopAsync();
        var queued = JsonNode.Parse(await server.Http.GetStringAsync(href))!;
        Assert.Equal(("queued", 0), (Builds.Text(queued, "state"), queued["tasks"]![0]!["attempt"]!.GetValue<int>()));

        using var cancel = await server.Http.DeleteAsync(href);
        Assert.True(cancel.IsSuccessStatusCode);
    }

    private async Task IsWholeAsync(JsonNode job, string repository)
    {
        Assert.Equal("succeeded", Builds.Text(job, "state"));
        var root = Builds.Unpack(machine, $"{server.Host}/{repository}:1");
        Assert.Equal("whole\n", await File.ReadAllTextAsync(Path.Combine(root, "made")));
    }

    private string Recipe(string slow = "sleep 1") =>
        $"FROM {BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest")}\nRUN {slow}; echo whole >/made\nRUN echo {Guid.NewGuid():N}\n";
}
