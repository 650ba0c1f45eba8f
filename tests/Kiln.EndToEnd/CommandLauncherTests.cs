using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>Builds as jobs of a batch system that Kiln does not know, by the site's own commands: task-spooler.</summary>
public sealed class CommandLauncherTests(Machine machine, NodelessServer server) : IClassFixture<NodelessServer>
{
    [Fact]
    public async Task Builds_are_jobs_of_task_spooler_and_are_cancelled_there()
    {
        machine.Needs("tsp");
        var socket = $"TS_SOCKET={machine.In($"tsp-{Guid.NewGuid():N}"[..10])}";
        var commands = machine.In("samples/launchers/task-spooler");
        var types = machine.WriteFile(
            $$"""
            launcher: command
            submit: [{{commands}}, submit]
            status: [{{commands}}, status]
            cancel: [{{commands}}, cancel]
            scratch: {{machine.In("run")}}
            types:
              - { name: here, platforms: [linux/amd64], memory: 2GiB, time: 40m }
            """,
            $"command-{Guid.NewGuid():N}",
            "node.yaml"
        );
        await using var node = new NodeProcess(machine, server) { Options = ["--config", types], Variables = [socket] };
        await node.StartAsync();
        try
        {
            var busybox = BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest");
            var built = await Builds.BuildOkAsync(
                server,
                "command/app",
                "tag=1",
                $"FROM {busybox}\nRUN echo whole >/made\n"
            );
            Assert.Contains("type here]", await Builds.LogAsync(server, built), StringComparison.Ordinal);

            using var answer = await Builds.PostRecipeAsync(
                server,
                "command/slow",
                "tag=1",
                $"FROM {busybox}\nRUN sleep 87124\n"
            );
            var href = answer.Headers.Location!.ToString();
            await Builds.WaitForLogAsync(server, await Builds.WaitForStateAsync(server, href, "running"), "STEP 2/");
            using var cancel = await server.Http.DeleteAsync(href);
            Assert.Equal("canceled", Builds.Text(await Builds.WaitAsync(server, href), "state"));
            await ProcessList.HasNoneAsync("sleep 87124");
            await SlurmSite.LeavesNothingAsync(node);
            Assert.DoesNotContain(
                Directory.EnumerateFileSystemEntries(machine.In("run")),
                f => f.Contains("kiln-job-")
            );
        }
        finally
        {
            machine.RunAsUser("env", socket, "tsp", "-K");
        }
    }
}
