using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>Builds as jobs of a real Slurm: three nodes on this machine.</summary>
public sealed class SlurmTests(Machine machine, SlurmSite site) : IClassFixture<SlurmSite>
{
    // What is built where, and that the first one that fits gets it.
    private const string Types = """
        launcher: slurm
        types:
          - name: plain
            platforms: [linux/amd64]
            outputs: oci
            time: 2h
            partition: build
            constraint: avx2
          - name: definitions
            platforms: [linux/amd64]
            recipes: [singularity]
            outputs: oci
            time: 2h
            partition: build
            constraint: bigmem
          - name: files
            platforms: [linux/amd64]
            emulates: [linux/arm64]
            outputs: [sif]
            time: 2h
            partition: build
            constraint: arm64
        """;

    private string Repository { get; } = $"slurm/app-{Guid.NewGuid():N}";

    [Fact]
    public async Task Build_runs_as_a_job_on_a_machine_that_fits_and_leaves_nothing()
    {
        await using var node = await site.NodeAsync();

        var href = await site.AskAsync(Repository, "sleep 1");
        var job = await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, href));

        await site.IsWholeAsync(Repository);
        var log = await Builds.LogAsync(site.Server, job);
        Assert.Contains(" on cn1, partition build, type small]", log, StringComparison.Ordinal);
        await SlurmSite.LeavesNothingAsync(node);
        Assert.DoesNotContain("kiln_lease_", node.Log(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Requests_get_the_type_that_has_what_they_ask_for_and_choose_what_is_listed()
    {
        await using var node = await site.NodeAsync();
        var large = await site.AskAsync(
            Repository + "-l",
            "true",
            ("resources", new JsonObject { ["cpus"] = 3, ["memoryBytes"] = 5L << 30 })
        );
        var urgent = await site.AskAsync(Repository + "-u", "true", ("backend", Partition("urgent")));
        var refused = await site.RefusedAsync(Repository + "-x", ("backend", Partition("nights")));

        Assert.Contains("cn2, partition build, type large]", await LogOfAsync(large), StringComparison.Ordinal);
        Assert.Contains(", partition urgent, type small]", await LogOfAsync(urgent), StringComparison.Ordinal);
        Assert.Contains("partition=nights, but partition=build, partition=urgent", refused, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Job_that_waits_says_why_and_a_cancel_ends_it_at_slurm()
    {
        await using var node = await site.NodeAsync();
        site.Slurm.Run("scontrol", "update", "partitionname=build", "state=down").Ok();
        try
        {
            var href = await site.AskAsync(Repository, "true");
            var running = await Builds.WaitForStateAsync(site.Server, href, "running");
            Assert.Equal("scheduled", Builds.Text(running["tasks"]![0]!, "phase"));
            await site.ProgressAsync(href, "waits: PartitionDown");
            var job = await site.Slurm.JobAsync("PENDING");

            using var cancel = await site.Server.Http.DeleteAsync(href);
            Assert.Equal("canceled", Builds.Text(await Builds.WaitAsync(site.Server, href), "state"));
            Assert.Equal("CANCELLED", State(job));
            await SlurmSite.LeavesNothingAsync(node, ran: false);
        }
        finally
        {
            site.Slurm.Run("scontrol", "update", "partitionname=build", "state=up").Ok();
        }
    }

    [Fact]
    public async Task Cancel_ends_a_job_that_runs_and_all_that_it_started()
    {
        await using var node = await site.NodeAsync();
        var (href, job) = await site.RunningAsync(Repository, "sleep 87123");

        using var cancel = await site.Server.Http.DeleteAsync(href);
        Assert.Equal("canceled", Builds.Text(await Builds.WaitAsync(site.Server, href), "state"));

        await ProcessList.HasNoneAsync("sleep 87123");
        await SlurmSite.LeavesNothingAsync(node);
        Assert.Contains(State(job), new[] { "CANCELLED", "COMPLETED", "FAILED" });
    }

    [Fact]
    public async Task Time_is_up_by_the_request_or_by_slurm_and_either_is_told()
    {
        await using var node = await site.NodeAsync();
        var asked = await site.AskAsync(Repository + "-a", "sleep 600", ("timeoutSeconds", 8));
        var late = await Builds.WaitAsync(site.Server, asked);
        Assert.Equal("timeout", Builds.Text(late, "reason"));
        Assert.Contains("longer than 8 s", Builds.Text(late, "message"), StringComparison.Ordinal);

        // What Slurm sends half a minute before it ends the job.
        var (href, job) = await site.RunningAsync(Repository + "-b", "sleep 600");
        site.Slurm.Run("scancel", "--signal=USR1", "--batch", job).Ok();
        var ended = await Builds.WaitAsync(site.Server, href);
        Assert.Equal("timeout", Builds.Text(ended, "reason"));
        Assert.Contains("the batch system gave", Builds.Text(ended, "message"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_machine_that_is_not_what_its_type_says_is_told_and_not_built_on()
    {
        await using var node = await site.NodeAsync();

        var href = await site.AskAsync(
            Repository,
            "true",
            ("targets", new JsonArray(new JsonObject { ["platform"] = "linux/arm64" }))
        );
        var failed = await Builds.WaitAsync(site.Server, href);

        Assert.Equal("attempts-exhausted", Builds.Text(failed, "reason"));
        Assert.Contains("not linux/arm64; the type names the wrong machines", Builds.Text(failed, "message"));
    }

    [Fact]
    public async Task A_definition_and_its_SIF_are_made_by_jobs_and_nothing_by_the_node()
    {
        var apptainer = new ApptainerRoot(machine);
        apptainer.Needs();
        machine.Needs("mksquashfs");
        await using var node = await site.NodeAsync(Types, apptainer.Options);
        var before = site.Slurm.Jobs().Select(j => j[0]).ToList();
        var busybox = BaseImages.Push(machine, site.Server, BaseImages.Busybox(machine), "library/busybox:latest");

        using var asked = await site.Server.Http.PostAsync(
            $"/v2/{Repository}/_build/v1/jobs?tag=1&output=sif",
            new StringContent(
                $"Bootstrap: docker\nFrom: {busybox}\n%post\n  echo whole >/made\n",
                null,
                "application/vnd.supercontainers.build.singularity.v1"
            )
        );
        Assert.True(asked.IsSuccessStatusCode, await asked.Content.ReadAsStringAsync());
        var job = await Builds.WaitAsync(site.Server, asked.Headers.Location!.ToString());

        await Builds.SucceededAsync(site.Server, job);
        await site.IsWholeAsync(Repository);
        Assert.Equal(System.Net.HttpStatusCode.OK, await Builds.ManifestStatusAsync(site.Server, Repository, "1-sif"));
        var log = await Builds.LogAsync(site.Server, job);
        Assert.Contains(" on cn2, partition build, type definitions]", log, StringComparison.Ordinal);
        Assert.Contains(" on cn3, partition build, type files]", log, StringComparison.Ordinal);
        Assert.Equal(2, site.Slurm.Jobs().Select(j => j[0]).Except(before).Count());
        await SlurmSite.LeavesNothingAsync(node);
        // Where a node builds itself, it has bases and steps.
        Assert.Equal(
            [],
            Directory.GetDirectories(node.DataDirectory).Select(Path.GetFileName).Except(["jobs", "spool"])
        );
    }

    [Fact]
    public async Task What_a_type_emulates_is_built_there_and_marked()
    {
        machine.Needs("qemu-aarch64-static");
        var probe = JsonNode.Parse(machine.RunKiln("node", "--probe", "--json").Ok().Output)!;
        if (probe["offer"]!["emulatedPlatforms"] is null)
            Assert.Skip("NOT RUN: this machine does not let builds have emulators; Linux 6.7 or later does");
        await using var node = await site.NodeAsync(Types, []);
        var busybox = BaseImages.Push(machine, site.Server, BaseImages.BusyboxArm64(machine), "library/busybox:arm64");

        var job = await Builds.BuildOkAsync(
            site.Server,
            Repository,
            "tag=1&platform=linux/arm64",
            $"FROM {busybox}\nRUN uname -m >/machine\n"
        );

        Assert.True(job["tasks"]![0]!["emulated"]!.GetValue<bool>());
        var log = await Builds.LogAsync(site.Server, job);
        Assert.Contains(" on cn3, partition build, type files]", log, StringComparison.Ordinal);
        var digest = Builds.Text(job["result"]!["outputs"]![0]!["manifest"]!, "digest");
        var root = Builds.Unpack(machine, $"{site.Server.Host}/{Repository}@{digest}");
        Assert.Equal("aarch64\n", await File.ReadAllTextAsync(Path.Combine(root, "machine")));
    }

    private static JsonObject Partition(string name) => new() { ["partition"] = name };

    private string State(string job) => site.Slurm.Jobs().First(j => j[0] == job)[1];

    private async Task<string> LogOfAsync(string href) =>
        await Builds.LogAsync(
            site.Server,
            await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, href))
        );
}
