using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>Builds as jobs of a real Slurm: three nodes on this machine.</summary>
public sealed class SlurmTests(Machine machine, NodelessServer server, SlurmCluster slurm)
    : IClassFixture<NodelessServer>,
        IClassFixture<SlurmCluster>
{
    private const string Types = """
        launcher: slurm
        types:
          - name: small
            platforms: [linux/amd64, linux/amd64/v2]
            cpus: 2
            memory: 2GiB
            time: 40m
            partition: build
            constraint: amd64&avx2
            backend: { partition: [build, urgent] }
          - name: large
            platforms: [linux/amd64]
            cpus: 4
            memory: 8GiB
            time: 40m
            partition: build
            constraint: bigmem
        """;

    [Fact]
    public async Task Build_runs_as_a_job_on_a_machine_that_fits()
    {
        slurm.Needs();
        await using var node = Node();
        await node.StartAsync();
        var repository = $"slurm/plain-{Guid.NewGuid():N}";

        var job = await Builds.BuildOkAsync(server, repository, "tag=1", Recipe("sleep 1"));

        await IsWholeAsync(repository);
        Assert.Contains(
            " on cn1, partition build, type small]",
            await Builds.LogAsync(server, job),
            StringComparison.Ordinal
        );
        await LeavesNothingAsync(node);
    }

    private NodeProcess Node() =>
        new(machine, server)
        {
            Options = ["--config", machine.WriteFile(Types, $"types-{Guid.NewGuid():N}", "node.yaml")],
            Variables = [slurm.Variable],
        };

    private async Task IsWholeAsync(string repository)
    {
        var root = Builds.Unpack(machine, $"{server.Host}/{repository}:1");
        Assert.Equal("whole\n", await File.ReadAllTextAsync(Path.Combine(root, "made")));
    }

    // Neither the lease, with its credential, nor what the build had on its machine's disk.
    private async Task LeavesNothingAsync(NodeProcess node)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (
            Directory.EnumerateFileSystemEntries(Path.Combine(node.DataDirectory, "jobs")).Any()
            || Directory.EnumerateFileSystemEntries("/tmp", "kiln-job-*").Any()
        )
        {
            await Task.Delay(TimeSpan.FromMilliseconds(200), patience.Token);
        }
    }

    private string Recipe(string slow) =>
        $"FROM {BaseImages.Push(machine, server, BaseImages.Busybox(machine), "library/busybox:latest")}\nRUN {slow}; echo whole >/made\nRUN echo {Guid.NewGuid():N}\n";
}
