using Kiln.TestPrograms;

namespace Kiln.EndToEnd.Harness;

/// <summary>A Slurm of the ordinary user: a controller and three nodes on this machine, with different features.</summary>
public sealed class SlurmCluster : IDisposable
{
    private readonly Machine _machine;
    private readonly TestProgram? _program;
    private readonly string _directory;

    public SlurmCluster(Machine machine)
    {
        _machine = machine;
        // Sockets have short names.
        _directory = machine.In($"slurm-{Guid.NewGuid():N}"[..12]);
        if (
            machine.RunAsUser("sh", "-c", "PATH=$PATH:/usr/sbin; command -v slurmctld slurmd munged sbatch").ExitCode
            == 0
        )
            _program = TestProgram.Start(
                $"exec '{machine.In("eng/slurm-cluster")}' '{_directory}'",
                asSelf: false,
                $"HOME={machine.In("home")}"
            );
    }

    /// <summary>The environment variable by which Slurm's commands find the cluster.</summary>
    public string Variable => $"SLURM_CONF={_directory}/slurm.conf";

    /// <summary>Skips the test, with a reason, where there is no Slurm.</summary>
    public void Needs()
    {
        if (_program is null)
            Assert.Skip("NOT RUN: slurmctld, slurmd and munged are not on this machine (./check installs them)");
    }

    /// <summary>Runs one of Slurm's commands as the ordinary user.</summary>
    public Outcome Run(params string[] command) => _machine.RunAsUser(["env", Variable, .. command]);

    /// <summary>Starts or stops the controller alone.</summary>
    public void Controller(string what) => _machine.RunAsUser(Path.Combine(_directory, "controller"), what).Ok();

    /// <summary>The lines of all jobs, as <c>ID|STATE|REASON|NODE|NAME</c>, ended ones too.</summary>
    public IReadOnlyList<string[]> Jobs() =>
        [
            .. Run("squeue", "-h", "-t", "all", "-o", "%A|%T|%r|%N|%j")
                .Ok()
                .Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(line => line.Split('|')),
        ];

    /// <summary>The one job that is in this state; waits for it.</summary>
    public async Task<string> JobAsync(string state)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        while (true)
        {
            if (Jobs().FirstOrDefault(job => job[1] == state) is { } job)
                return job[0];
            await Task.Delay(TimeSpan.FromMilliseconds(200), patience.Token);
        }
    }

    public void Dispose() => _program?.Dispose();
}
