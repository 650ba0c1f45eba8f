using Kiln.Node.Launchers;
using Kiln.Node.Launchers.Slurm;

namespace Kiln.Tests.Node;

/// <summary>
/// What Slurm prints, as it was recorded of 22.05 where a version is not named. Out of memory needs control groups, which
/// the Slurm of the end-to-end tests has not: here is what one with them says.
/// </summary>
public sealed class SlurmTextTests
{
    [Theory]
    [InlineData("17|PENDING|Resources||kiln-x", BatchState.Pending, "Resources", "")]
    [InlineData("17|PENDING|Licenses||kiln-x", BatchState.Pending, "Licenses", "")]
    [InlineData("17|CONFIGURING|None|cn1|kiln-x", BatchState.Pending, "", "cn1")]
    [InlineData("17|RUNNING|None|cn1|kiln-x", BatchState.Running, "", "cn1")]
    [InlineData("17|SUSPENDED|None|cn1|kiln-x", BatchState.Running, "", "cn1")]
    [InlineData("17|COMPLETING|NonZeroExitCode|cn1|kiln-x", BatchState.Running, "NonZeroExitCode", "cn1")]
    [InlineData("17|COMPLETED|None|cn1|kiln-x", BatchState.Ended, "", "cn1")]
    [InlineData("17|FAILED|NonZeroExitCode|cn1|kiln-x", BatchState.Ended, "NonZeroExitCode", "cn1")]
    [InlineData("17|CANCELLED|None|cn1|kiln-x", BatchState.Canceled, "", "cn1")]
    [InlineData("17|TIMEOUT|TimeLimit|cn1|kiln-x", BatchState.TimedOut, "TimeLimit", "cn1")]
    [InlineData("17|DEADLINE|DeadLine||kiln-x", BatchState.TimedOut, "DeadLine", "")]
    [InlineData("17|NODE_FAIL|NodeDown|cn1|kiln-x", BatchState.NodeFailed, "NodeDown", "cn1")]
    [InlineData("17|BOOT_FAIL|None|cn1|kiln-x", BatchState.NodeFailed, "", "cn1")]
    [InlineData("17|PREEMPTED|None|cn1|kiln-x", BatchState.Preempted, "", "cn1")]
    [InlineData("17|OUT_OF_MEMORY|OutOfMemory|cn1|kiln-x", BatchState.OutOfMemory, "OutOfMemory", "cn1")]
    [InlineData("17|REQUEUE_HOLD|JobHeldUser||kiln-x", BatchState.Requeued, "JobHeldUser", "")]
    [InlineData("17|SPECIAL_EXIT|JobHeldUser||kiln-x", BatchState.Requeued, "JobHeldUser", "")]
    [InlineData(
        "17|PENDING|launch failed requeued held||kiln-x",
        BatchState.Requeued,
        "launch failed requeued held",
        ""
    )]
    // A state of a later version: the job is there.
    [InlineData("17|EXPEDITING|None|cn1|kiln-x", BatchState.Running, "", "cn1")]
    public void States_are_told_apart(string line, object state, string reason, string node)
    {
        var job = Assert.Single(SlurmText.Jobs(line + "\n"));
        Assert.Equal(("17", "kiln-x", (BatchState)state), (job.Id, job.Name, job.State));
        Assert.Equal((reason, node), (job.Reason, job.Node));
    }

    [Fact]
    public void Names_of_others_jobs_may_be_anything()
    {
        var jobs = SlurmText.Jobs(
            "\nslurm_load_jobs says hello\n5|RUNNING|None|cn1|a|b c\n6|PENDING|Priority||kiln-y\n"
        );
        Assert.Equal(["a|b c", "kiln-y"], jobs.Select(j => j.Name));
    }

    [Theory]
    [InlineData(
        "JobId=12 JobName=kiln-x UserId=alice(1001) GroupId=alice(1001) MCS_label=N/A Priority=1 JobState=NODE_FAIL Reason=NodeDown Dependency=(null) Requeue=0 Restarts=0 ExitCode=0:1 NodeList=cn1 BatchHost=cn1 Command=/shared/a b/script",
        BatchState.NodeFailed,
        "NodeDown, exit code 0:1"
    )]
    [InlineData(
        "JobId=12 JobName=kiln-x JobState=OUT_OF_MEMORY Reason=OutOfMemory Dependency=(null) ExitCode=0:125 NodeList=cn1",
        BatchState.OutOfMemory,
        "OutOfMemory, exit code 0:125"
    )]
    // 26.05 has more fields, and the same words.
    [InlineData(
        "JobId=12 JobName=kiln-x UserId=alice(1001) GroupId=alice(1001) MCS_label=N/A Priority=1 Nice=0 Account=(null) QOS=(null) JobState=COMPLETED Reason=None Dependency=(null) Requeue=0 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0 RunTime=00:00:01 LicensesAlloc=(null) NodeList=cn1 StepMgrEnabled=Yes",
        BatchState.Ended,
        ""
    )]
    public void A_job_that_scontrol_shows_is_read(string output, object state, string reason)
    {
        var job = SlurmText.Shown(output + "\n")!;
        Assert.Equal(("12", "kiln-x", (BatchState)state, reason), (job.Id, job.Name, job.State, job.Reason));
        Assert.Equal("cn1", job.Node);
    }

    [Fact]
    public void What_is_no_job_is_none()
    {
        Assert.Null(SlurmText.Shown("slurm_load_jobs error: Invalid job id specified\n"));
        Assert.Null(SlurmText.Accounted("12", "\n"));
        Assert.Null(SlurmText.Accounted("12", "Slurm accounting storage is disabled\n"));
    }

    [Theory]
    [InlineData("CANCELLED by 1000|cn1", BatchState.Canceled)]
    [InlineData("OUT_OF_MEMORY|cn1", BatchState.OutOfMemory)]
    [InlineData("COMPLETED|cn1", BatchState.Ended)]
    public void Accounting_knows_what_the_controller_has_forgotten(string line, object state) =>
        Assert.Equal((BatchState)state, SlurmText.Accounted("12", line + "\n")!.State);

    [Theory]
    [InlineData(0, "17\n", "", SubmissionKind.Accepted)]
    [InlineData(0, "17;cluster\n", "", SubmissionKind.Accepted)]
    [InlineData(0, "Welcome to the site\n17\n", "", SubmissionKind.Accepted)]
    [InlineData(0, "Welcome\n", "", SubmissionKind.Unknown)]
    [InlineData(
        1,
        "",
        "sbatch: error: Batch job submission failed: Invalid feature specification",
        SubmissionKind.Refused
    )]
    [InlineData(
        1,
        "",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        SubmissionKind.Refused
    )]
    [InlineData(
        1,
        "",
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        SubmissionKind.Later
    )]
    [InlineData(
        1,
        "",
        "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        SubmissionKind.Refused
    )]
    [InlineData(
        1,
        "",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        SubmissionKind.Later
    )]
    [InlineData(
        1,
        "",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        SubmissionKind.Unknown
    )]
    [InlineData(
        1,
        "",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        SubmissionKind.Unknown
    )]
    public void A_submission_was_taken_or_not_or_nobody_knows(int code, string output, string errors, object kind) =>
        Assert.Equal((SubmissionKind)kind, SlurmText.Submitted(new SiteAnswer(code, output, errors)).Kind);
}
