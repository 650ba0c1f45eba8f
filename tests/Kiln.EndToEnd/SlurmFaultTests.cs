using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>What befalls jobs of a real Slurm: each fault is told from the others, and builds are retried or reported, never both.</summary>
public sealed class SlurmFaultTests(SlurmSite site) : IClassFixture<SlurmSite>
{
    private string Repository { get; } = $"slurm/fault-{Guid.NewGuid():N}";

    [Fact]
    public async Task Controller_that_is_away_stops_no_build_and_no_job_is_submitted_twice()
    {
        await using var node = await site.NodeAsync();
        var (href, job) = await site.RunningAsync(Repository + "-a", "sleep 12");
        var before = site.Slurm.Jobs().Count;

        site.Slurm.Controller("stop");
        var waiting = await site.AskAsync(Repository + "-b", "true");
        await site.ProgressAsync(waiting, "Slurm does not answer since");
        var built = await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, href));
        Assert.Equal(1, built["tasks"]![0]!["attempt"]!.GetValue<int>());
        await site.IsWholeAsync(Repository + "-a");

        site.Slurm.Controller("start");
        var late = await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, waiting));
        Assert.Equal(1, late["tasks"]![0]!["attempt"]!.GetValue<int>());
        Assert.Equal(before + 1, site.Slurm.Jobs().Count);
        Assert.Contains("Slurm answers again", node.Log(), StringComparison.Ordinal);
        Assert.Contains(site.Slurm.Jobs(), j => j[0] == job);
    }

    [Fact]
    public async Task Job_that_is_cancelled_behind_our_back_is_reported_and_not_built_again()
    {
        await using var node = await site.NodeAsync();
        var (href, job) = await site.RunningAsync(Repository, "sleep 600");
        var before = site.Slurm.Jobs().Count;

        site.Slurm.Run("scancel", job).Ok();

        var failed = await Builds.WaitAsync(site.Server, href);
        Assert.Equal(("failed", "system-error"), (Builds.Text(failed, "state"), Builds.Text(failed, "reason")));
        Assert.Contains($"Slurm job {job} was cancelled at the batch system", Builds.Text(failed, "message"));
        Assert.Equal(before, site.Slurm.Jobs().Count);
        await SlurmSite.LeavesNothingAsync(node);
    }

    [Fact]
    public async Task Node_that_goes_down_costs_an_attempt_and_the_next_is_another_job()
    {
        await using var node = await site.NodeAsync();
        var (href, job) = await site.RunningAsync(Repository, "sleep 15");
        var where = site.Slurm.Jobs().First(j => j[0] == job)[3];

        site.Slurm.Run("scontrol", "update", $"nodename={where}", "state=down", "reason=test").Ok();
        try
        {
            await WaitForAttemptAsync(
                href,
                2,
                () => site.Slurm.Run("scontrol", "update", $"nodename={where}", "state=resume")
            );
            var built = await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, href));
            Assert.Equal(2, built["tasks"]![0]!["attempt"]!.GetValue<int>());
            Assert.Equal("NODE_FAIL", site.Slurm.Jobs().First(j => j[0] == job)[1]);
            Assert.Contains("the machine of Slurm job", node.Log(), StringComparison.Ordinal);
            await site.IsWholeAsync(Repository);
        }
        finally
        {
            site.Slurm.Run("scontrol", "update", $"nodename={where}", "state=resume");
        }
    }

    [Fact]
    public async Task Job_that_is_preempted_is_built_again()
    {
        await using var node = await site.NodeAsync();
        var (href, job) = await site.RunningAsync(Repository, "sleep 15");

        var urgent = site
            .Slurm.Run(
                "sbatch",
                "--parsable",
                "-p",
                "urgent",
                "-N",
                "3",
                "--exclusive",
                "-o",
                "/dev/null",
                "--wrap",
                "sleep 2"
            )
            .Ok()
            .Output.Trim();
        var built = await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, href));

        Assert.Equal(2, built["tasks"]![0]!["attempt"]!.GetValue<int>());
        Assert.Equal("PREEMPTED", site.Slurm.Jobs().First(j => j[0] == job)[1]);
        Assert.Contains("was preempted", node.Log(), StringComparison.Ordinal);
        Assert.NotEqual(job, urgent);
    }

    [Fact]
    public async Task Job_that_slurm_would_run_again_is_not()
    {
        await using var node = await site.NodeAsync();
        var (href, job) = await site.RunningAsync(Repository, "sleep 20");
        site.Slurm.Run("scontrol", "update", $"jobid={job}", "requeue=1").Ok();

        site.Slurm.Run("scontrol", "requeue", job).Ok();
        var built = await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, href));

        Assert.Equal(2, built["tasks"]![0]!["attempt"]!.GetValue<int>());
        Assert.Contains("was put back into the queue", node.Log(), StringComparison.Ordinal);
        // The job itself would have found nothing to build, and is not even begun again.
        await IsCanceledAsync(job);
    }

    [Fact]
    public async Task Node_that_is_killed_finds_its_jobs_again()
    {
        await using var node = await site.NodeAsync();
        var (running, _) = await site.RunningAsync(Repository + "-a", "sleep 20");
        site.Slurm.Run("scontrol", "update", "partitionname=build", "state=down").Ok();
        var waiting = await site.AskAsync(Repository + "-b", "true");
        await site.Slurm.JobAsync("PENDING");
        var before = site.Slurm.Jobs().Count;

        await node.KillAsync();
        site.Slurm.Run("scontrol", "update", "partitionname=build", "state=up").Ok();
        await node.StartAsync();

        foreach (var href in new[] { running, waiting })
        {
            var built = await Builds.SucceededAsync(site.Server, await Builds.WaitAsync(site.Server, href));
            Assert.Equal(1, built["tasks"]![0]!["attempt"]!.GetValue<int>());
        }

        Assert.Equal(before, site.Slurm.Jobs().Count);
        Assert.Contains("2 builds of an earlier process", node.Log(), StringComparison.Ordinal);
        await SlurmSite.LeavesNothingAsync(node);
    }

    // Cancelled, and maybe forgotten since.
    private async Task IsCanceledAsync(string job)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        string? state;
        while ((state = site.Slurm.Jobs().FirstOrDefault(j => j[0] == job)?[1]) is not (null or "CANCELLED"))
        {
            Assert.NotEqual("COMPLETED", state);
            await Task.Delay(TimeSpan.FromMilliseconds(200), patience.Token);
        }
    }

    private async Task WaitForAttemptAsync(string href, int attempt, Action meanwhile)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (true)
        {
            var job = JsonNode.Parse(await site.Server.Http.GetStringAsync(href, patience.Token))!;
            if (job["tasks"]![0]!["attempt"]!.GetValue<int>() == attempt || job["done"]!.GetValue<bool>())
                break;
            await Task.Delay(TimeSpan.FromMilliseconds(200), patience.Token);
        }

        meanwhile();
    }
}
