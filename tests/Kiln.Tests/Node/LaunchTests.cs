using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Node.Launchers;
using Kiln.Node.Launchers.Command;
using Kiln.Node.Remote;
using Kiln.Server;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Node;

/// <summary>What is handed to a job, whose hands it comes into, and what operators write.</summary>
public sealed class LaunchTests : IDisposable
{
    private static readonly LauncherOptions Options = new()
    {
        Kind = LauncherKind.Command,
        Submit = ["true"],
        Status = ["true"],
        Cancel = ["true"],
        Types = [new NodeType { Name = "t", Platforms = [Oci.Platform.LinuxAmd64] }],
    };

    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-launch-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void One_job_takes_a_hand_over_and_no_other_and_nothing_secret_stays()
    {
        var folder = Create();
        Assert.True(folder.IsUntouched);
        Assert.All(
            Directory.GetFiles(folder.Path),
            file => Assert.Equal(0, (int)(File.GetUnixFileMode(file) & (UnixFileMode)0b000_111_111))
        );
        Assert.Equal(0, (int)(File.GetUnixFileMode(folder.Path) & (UnixFileMode)0b000_111_111));

        var taken = JobHandover.Take(folder.Path)!;

        Assert.Equal("registry.example.org", taken.Server);
        Assert.Equal("hunter2"u8.ToArray(), taken.Lease.Task.Secrets!.Single().Value);
        Assert.Null(JobHandover.Take(folder.Path));
        Assert.False(folder.IsUntouched);
        var secret = Convert.ToBase64String("hunter2"u8);
        Assert.DoesNotContain(
            Directory.GetFiles(folder.Path),
            f => File.ReadAllText(f).Contains(secret, StringComparison.Ordinal)
        );
        folder.Remove();
        Assert.Null(JobHandover.Take(folder.Path));
    }

    [Fact]
    public void What_was_begun_is_found_again_and_what_was_never_whole_is_removed()
    {
        Create().Became("17");
        Directory.CreateDirectory(Path.Combine(_folder, "half"));
        File.WriteAllText(Path.Combine(_folder, "half", "handover.json"), "{");

        var left = Assert.Single(LaunchFolder.Left(_folder));

        Assert.Equal(("17", "l1"), (left.Record.Job, left.Record.Lease.Id));
        Assert.False(Directory.Exists(Path.Combine(_folder, "half")));
    }

    [Fact]
    public void A_jobs_directory_is_its_own_and_never_what_somebody_else_put_there()
    {
        Directory.CreateSymbolicLink(Path.Combine(_folder, "kiln-job-1"), Path.GetTempPath());
        Assert.Throws<IOException>(() => new JobScratch(_folder, "kiln-job-1"));
        Directory.CreateDirectory(Path.Combine(_folder, "kiln-job-2"));
        Assert.Throws<IOException>(() => new JobScratch(_folder, "kiln-job-2"));
        File.WriteAllText(Path.Combine(_folder, "kiln-job-3.lock"), "");
        Assert.Throws<IOException>(() => new JobScratch(_folder, "kiln-job-3"));

        using var mine = new JobScratch(_folder, "kiln-job-4");

        Assert.Equal(0, (int)(File.GetUnixFileMode(mine.Directory) & (UnixFileMode)0b000_111_111));
        Assert.False(File.Exists(Path.Combine(_folder, "kiln-job-1.lock")));
        Assert.Equal([Path.Combine(_folder, "kiln-job-3")], JobScratch.Left(_folder, "kiln-job-"));
        Assert.False(File.Exists(Path.Combine(_folder, "kiln-job-3.lock")));
    }

    [Fact]
    public void What_a_job_could_not_remove_is_found_by_those_after_it_until_it_is_gone()
    {
        var place = Path.Combine(_folder, "kiln-job-1");
        using (new JobScratch(_folder, "kiln-job-1"))
        {
            Assert.Empty(JobScratch.Left(_folder, "kiln-job-"));
        }

        Assert.Equal([place], JobScratch.Left(_folder, "kiln-job-"));
        foreach (var left in JobScratch.Left(_folder, "kiln-job-"))
        {
            Directory.Delete(left);
        }

        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public async Task A_job_does_not_use_a_name_that_others_on_its_machine_can_guess()
    {
        File.WriteAllText(Path.Combine(_folder, "kiln-job-l1.lock"), "");
        Directory.CreateDirectory(Path.Combine(_folder, "kiln-job-l1"));
        var lease = NodeSamples.Lease with
        {
            Auth = new LeaseAuth
            {
                Token = "t",
                Username = "u",
                Password = "t",
                Expires = DateTimeOffset.MaxValue,
            },
        };
        var handover = Handover(lease) with { Scratch = _folder };
        using var ended = new CancellationTokenSource();
        await ended.CancelAsync();

        await new JobRun(handover, _ => null, TimeProvider.System, NullLogger.Instance).RunAsync(
            CancellationToken.None,
            ended.Token
        );

        // What lay there looks like the rest of a killed job of this user, and went with it.
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public async Task A_scratch_that_is_not_there_is_made_for_this_account_alone_or_the_job_says_what_is_wrong()
    {
        var there = Path.Combine(_folder, "local");
        JobScratch.MakeRoot(there);
        JobScratch.MakeRoot(there);
        Assert.Equal((UnixFileMode)0b111_000_000, File.GetUnixFileMode(there));
        using var mine = new JobScratch(there, "kiln-job-1");

        var missing = Path.Combine(_folder, "no-disk", "kiln");
        var job = new JobRun(
            Handover(NodeSamples.Lease) with
            {
                Scratch = missing,
            },
            _ => null,
            TimeProvider.System,
            NullLogger.Instance
        );
        var e = await Assert.ThrowsAsync<IOException>(() => job.RunAsync(Cancel, Cancel));
        Assert.StartsWith(
            $"the scratch directory {missing} is not there on {Environment.MachineName}, and cannot be made",
            e.Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("gone", "linux/amd64")]
    [InlineData("t", "linux/arm64")]
    public async Task A_build_of_a_type_that_is_no_more_is_looked_for_and_not_submitted(string type, string platform)
    {
        Create(type, Oci.Platform.Parse(platform));
        using var launcher = Launcher(Options with { Interval = TimeSpan.FromMilliseconds(20) });
        var coordinator = new TestCoordinator();

        await Assert.Single(launcher.Resume(coordinator, Cancel)).Running;

        Assert.Equal((BuildStates.Failed, true), (coordinator.Result!.State, coordinator.Result.Retryable));
        Assert.Contains($"the type '{type}', of which", coordinator.Result.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(_folder, "submitted")));
        Assert.Empty(LaunchFolder.Left(Path.Combine(_folder, "jobs")));
    }

    [Fact]
    public async Task A_job_of_a_type_that_is_no_more_is_found_by_its_name()
    {
        Create("gone", Oci.Platform.LinuxAmd64);
        using var launcher = Launcher(
            Options with
            {
                Interval = TimeSpan.FromMilliseconds(20),
                Status = ["echo", "7 kiln-l1 timeout cn1"],
            }
        );
        var coordinator = new TestCoordinator();

        await Assert.Single(launcher.Resume(coordinator, Cancel)).Running;

        Assert.Equal(FailureReasons.Timeout, coordinator.Result!.Reason);
        Assert.Contains(
            "job 7 on cn1 ran into its time limit and was",
            coordinator.Result.Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task What_fits_no_type_is_refused_with_a_sentence_and_nothing_is_submitted()
    {
        using var launcher = Launcher(Options);
        var abilities = await launcher.PrepareAsync(Cancel);
        Assert.Equal(["linux/amd64"], abilities.Types!.Single().Platforms);
        launcher.Resume(new TestCoordinator(), Cancel);
        var coordinator = new TestCoordinator();
        var lease = NodeSamples.Lease with
        {
            Task = NodeSamples.Lease.Task with { Backend = new Dictionary<string, string> { ["queue"] = "x" } },
        };

        await launcher.RunAsync(lease, coordinator, Cancel);

        Assert.Equal(
            (BuildStates.Failed, FailureReasons.NoBuilder),
            (coordinator.Result!.State, coordinator.Result.Reason)
        );
        Assert.Contains("t: backend.queue may not be chosen", coordinator.Result.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(_folder, "submitted")));
        // The node that has it disposes of it, and so does whoever made it.
        launcher.Dispose();
    }

    [Fact]
    public void Lines_of_a_sites_status_command_are_read_and_others_are_not()
    {
        var jobs = CommandSystem.Jobs(
            "7 kiln-a running cn1 since an hour\n8 kiln-b pending - Priority\n9 kiln-c ended\nhello\n10 kiln-d nonsense\n"
        );
        Assert.Equal(
            [("7", BatchState.Running, "cn1"), ("8", BatchState.Pending, ""), ("9", BatchState.Ended, "")],
            jobs.Select(j => (j.Id, j.State, j.Node))
        );
        Assert.Equal(["since an hour", "Priority", ""], jobs.Select(j => j.Reason));
        var wordy = Assert.Single(CommandSystem.Jobs($"7 kiln-a pending - a\tb\u001b[0m {new string('x', 9000)}"));
        Assert.StartsWith("a b[0m xx", wordy.Reason, StringComparison.Ordinal);
        Assert.Equal(1000, wordy.Reason.Length);
    }

    [Theory]
    [InlineData("launcher: slurm\n", "it needs 'types'")]
    [InlineData("launcher: slurn\n", "'slurn' is not known; did you mean 'slurm'")]
    [InlineData("launcher: slurm\ntypes:\n  - { platforms: [linux/amd64] }\n", "a type needs 'name'")]
    [InlineData("launcher: slurm\ntypes:\n  - { name: a, platforms: [linux] }\n", "'linux' is not os/architecture")]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64 }\n  - { name: a, platforms: linux/arm64 }\n",
        "two types are called 'a'"
    )]
    [InlineData("launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, time: 2m }\n", "less than 3 minutes")]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, backend: { acount: [x] } }\n",
        "no key 'acount'"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, recipes: definition }\n",
        "'definition' is not known; there are dockerfile, singularity"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, outputs: [sif, single-layer] }\n",
        "'single-layer' is not known; there are oci, sif, squashfs"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, microarchitectures: [zen3, skylake-avx512] }\n",
        "'skylake-avx512' is no micro-architecture that is known; did you mean 'skylake_avx512'?"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, microarchitectures: grace }\n",
        "there are nocona, core2, "
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, microarchitectures: x86_64_v3 }\n",
        "'x86_64_v3' is a level and no micro-architecture; it stands in 'platforms', as in linux/amd64/v3"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/arm64, microarchitectures: zen3 }\n",
        "a type: the micro-architecture zen3 is linux/amd64/v3, and its platforms are linux/arm64"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64/v2, microarchitectures: zen3 }\n",
        "a type: the micro-architecture zen3 is linux/amd64/v3, and its platforms are linux/amd64/v2"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64, emulates: arm64 }\n",
        "'arm64' is not os/architecture"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/arm64, emulates: linux/amd64/v3 }\n",
        "'linux/amd64/v3' is more than is emulated; say linux/amd64"
    )]
    [InlineData(
        "launcher: slurm\ntypes:\n  - { name: a, platforms: linux/amd64/v3, emulates: linux/amd64 }\n",
        "it builds for linux/amd64 by itself"
    )]
    [InlineData(
        "launcher: command\ntypes:\n  - { name: a, platforms: linux/amd64 }\n",
        "needs 'submit', 'status' and 'cancel'"
    )]
    public void A_wrong_configuration_is_told(string text, string fault)
    {
        var file = Path.Combine(_folder, "node.yaml");
        File.WriteAllText(file, text);
        Assert.Contains(NodeConfiguration.Load(file, null).Faults, f => f.Contains(fault, StringComparison.Ordinal));
    }

    [Fact]
    public void A_configuration_says_all_that_there_is_to_say()
    {
        var file = Path.Combine(_folder, "node.yaml");
        File.WriteAllText(
            file,
            """
            launcher: slurm
            jobs: 7
            scratch: /local
            program: [dotnet, kiln.dll]
            setup: module load buildah
            types:
              - name: gpu
                platforms: [linux/amd64/v3]
                cpus: 8
                memory: 64GiB
                gpus: 2
                time: 4h
                partition: gpu
                constraint: a100&nvme
                recipes: [dockerfile, singularity]
                microarchitectures: [zen3, haswell]
                emulates: [linux/arm64]
                outputs: [oci, sif]
                backend: { account: ["*"] }
            """
        );
        var (options, faults) = NodeConfiguration.Load(file, "slurm");
        Assert.Empty(faults);
        Assert.Equal((LauncherKind.Slurm, 7, "/local"), (options.Kind, options.Jobs, options.Scratch));
        var type = Assert.Single(options.Types);
        Assert.Equal((8, 64L << 30, 2, TimeSpan.FromHours(4)), (type.Cpus, type.MemoryBytes, type.Gpus, type.Time));
        Assert.Equal("a100&nvme", type.Place["constraint"]);
        Assert.Equal(["dockerfile", "singularity"], type.Recipes);
        Assert.Equal(["zen3", "haswell"], type.Microarchitectures);
        Assert.Equal(["linux/arm64"], type.Emulates.Select(p => p.ToString()));
        Assert.Equal(["sif"], type.Outputs);
        Assert.Equal(["*"], type.Backend["account"]);
        Assert.NotEmpty(NodeConfiguration.Load(null, "slurm").Faults);
        Assert.NotEmpty(NodeConfiguration.Load(file, "local").Faults);
        Assert.NotEmpty(NodeConfiguration.Load(file, "pbs").Faults);
    }

    private BatchLauncher Launcher(LauncherOptions options) =>
        new(
            options with
            {
                Submit = ["touch", Path.Combine(_folder, "submitted")],
            },
            new NodeOptions { Directory = _folder, Name = "n" },
            new RemoteServer { Host = "h", Spool = Path.Combine(_folder, "spool") },
            TimeProvider.System,
            NullLogger.Instance
        );

    // Of a build that was claimed and never submitted, by a process that is gone.
    private void Create(string type, Oci.Platform platform)
    {
        var lease = NodeSamples.Lease with { Task = NodeSamples.Lease.Task with { Platform = platform } };
        var record = new LaunchRecord
        {
            Lease = lease,
            Type = type,
            Begun = TimeProvider.System.GetUtcNow(),
        };
        LaunchFolder.Create(Path.Combine(_folder, "jobs"), record, Handover(lease), _ => "#!/bin/sh\n");
    }

    private LaunchFolder Create()
    {
        var secret = new LeaseSecret { Id = "s", Value = "hunter2"u8.ToArray() };
        var lease = NodeSamples.Lease with { Task = NodeSamples.Lease.Task with { Secrets = [secret] } };
        var record = new LaunchRecord
        {
            Lease = NodeSamples.Lease,
            Type = "t",
            Begun = TimeProvider.System.GetUtcNow(),
        };
        return LaunchFolder.Create(_folder, record, Handover(lease), directory => $"#!/bin/sh\n: {directory}\n");
    }

    private static JobHandover Handover(Lease lease) =>
        new()
        {
            Lease = lease,
            Server = "registry.example.org",
            Type = "t",
            MemoryBytes = 1,
            DiskBytes = 1,
            Processes = 1,
            MaxContextBytes = 1,
        };
}
