using System.Diagnostics;
using Kiln.Node.Launchers;
using Kiln.Node.Launchers.Command;
using Kiln.Tests.Architecture;

namespace Kiln.Tests.Node;

/// <summary>
/// The commands of samples/launchers, with batch systems that say what their documentation has: what they show is
/// understood, and one that is away is no batch system without jobs.
/// </summary>
public sealed class SampleLaunchersTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kiln-samples-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("task-spooler", "tsp")]
    [InlineData("pbs", "qstat")]
    [InlineData("lsf", "bjobs")]
    [InlineData("flux", "flux")]
    public void A_batch_system_that_is_away_is_not_one_without_jobs(string sample, string program)
    {
        Put(program, "echo 'cannot connect to server' >&2\nexit 255");
        var (code, output, errors) = Run(sample, "status");
        Assert.Equal((1, ""), (code, output));
        Assert.Contains("cannot connect to server", errors, StringComparison.Ordinal);

        Put(program, "exit 0");
        Assert.Equal((0, "", ""), Run(sample, "status"));
    }

    [Theory]
    [InlineData("No unfinished job found")]
    [InlineData("No job found")]
    public void An_lsf_without_jobs_is_not_away(string said)
    {
        Put("bjobs", $"echo '{said}' >&2\nexit 255");
        Assert.Equal((0, "", ""), Run("lsf", "status"));
    }

    [Fact]
    public void Jobs_of_task_spooler_are_told()
    {
        Put(
            "tsp",
            """
            cat <<'END'
            ID   State      Output               E-Level  Times(r/u/s)   Command [run=1/1]
            2    running    (no output)                           [kiln-b]sh -c x
            3    queued     (no output)                           [kiln-c]sh -c x
            1    finished   (no output)          0        0.00/0.00/0.00 [kiln-a]sh -c x
            END
            """
        );
        Assert.Equal(
            [
                ("2", "kiln-b", BatchState.Running, ""),
                ("3", "kiln-c", BatchState.Pending, "a slot"),
                ("1", "kiln-a", BatchState.Ended, ""),
            ],
            Jobs("task-spooler").Select(j => (j.Id, j.Name, j.State, j.Reason))
        );
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Jobs_of_pbs_are_told_with_and_without_a_history(bool history)
    {
        // With -u or -w it prints its table, whatever else it is told; -x it refuses where it keeps no history.
        Put(
            "qstat",
            $$"""
            case "$*" in
            -f) ;;
            "-x -f") {{(history ? ":" : "echo 'Server does not have job history enabled' >&2; exit 35")}} ;;
            *) echo 'Job ID  Username Queue'; exit 0 ;;
            esac
            cat <<END
            Job Id: 17.pbs
                Job_Name = kiln-a
                Job_Owner = {{Environment.UserName}}@login1
                job_state = R
                exec_host = cn3/0*4+cn4/0*4
                Variable_List = PBS_O_HOME=/home/alice,PBS_O_LANG=C,
            	PBS_O_PATH=/usr/bin:/bin

            Job Id: 18.pbs
                Job_Name = kiln-b
                Job_Owner = {{Environment.UserName}}@login1
                job_state = Q
                comment = Not Running: Insufficient amount of resource: ncpus (R: 64 A: 12 T:
            	 128)

            Job Id: 19.pbs
                Job_Name = kiln-c
                Job_Owner = somebody-else@login1
                job_state = R

            Job Id: 20.pbs
                Job_Name = my-own
                Job_Owner = {{Environment.UserName}}@login1
                job_state = R

            Job Id: 21.pbs
                Job_Name = kiln-d
                Job_Owner = {{Environment.UserName}}@login1
                job_state = F
                Exit_status = -29

            END
            """
        );
        Assert.Equal(
            [
                ("17.pbs", "kiln-a", BatchState.Running, "cn3", ""),
                (
                    "18.pbs",
                    "kiln-b",
                    BatchState.Pending,
                    "",
                    "Not Running: Insufficient amount of resource: ncpus (R: 64 A: 12 T: 128)"
                ),
                ("21.pbs", "kiln-d", BatchState.TimedOut, "", ""),
            ],
            Jobs("pbs").Select(j => (j.Id, j.Name, j.State, j.Node, j.Reason))
        );
    }

    [Theory]
    [InlineData("avx2=True", 0)]
    [InlineData("a:ncpus=64", 1)]
    [InlineData("a+4", 1)]
    [InlineData("a,walltime=99999", 1)]
    [InlineData("ncpus=64", 1)]
    [InlineData("mem=1tb", 1)]
    public void A_request_asks_pbs_for_no_more_than_its_type_has(string constraint, int code)
    {
        Put("qsub", $"echo \"$@\" >'{_folder}/asked'\necho 17.pbs");
        var (ended, output, errors) = Run(
            "pbs",
            "submit",
            ("KILN_JOB_NAME", "kiln-a"),
            ("KILN_JOB_SCRIPT", "script"),
            ("KILN_JOB_OUTPUT", "output"),
            ("KILN_JOB_CPUS", "2"),
            ("KILN_JOB_MEMORY_MIB", "100"),
            ("KILN_JOB_GPUS", "0"),
            ("KILN_JOB_MINUTES", "5"),
            ("KILN_JOB_CONSTRAINT", constraint)
        );
        Assert.Equal((code, code == 0 ? "17.pbs\n" : ""), (ended, output));
        Assert.Equal(code == 0, File.Exists(Path.Combine(_folder, "asked")));
        Assert.Contains(code == 0 ? "" : $"constraint '{constraint}'", errors, StringComparison.Ordinal);
    }

    [Fact]
    public void Jobs_of_flux_are_told_also_where_they_have_no_result_yet()
    {
        // What flux-jobs(1) makes of the format that it is given: {name} and the like are replaced, the rest stays.
        Put(
            "flux",
            """
            for format in "$@"; do :; done
            job() {
                echo "$format" | sed -e "s/{id.f58plain}/$1/" -e "s/{name}/$2/" -e "s/{state}/$3/" -e "s/{result}/$4/" \
                    -e "s/{nodelist}/$5/" -e "s/{exception.type}/$6/"
            }
            job f1 kiln-a RUN '' 'cn[1-2]' ''
            job f2 kiln-b SCHED '' '' ''
            job f3 kiln-c INACTIVE TIMEOUT cn1 timeout
            job f4 'my own job' RUN '' cn1 ''
            """
        );
        Assert.Equal(
            [
                ("f1", "kiln-a", BatchState.Running, "cn[1-2]", ""),
                ("f2", "kiln-b", BatchState.Pending, "", ""),
                ("f3", "kiln-c", BatchState.TimedOut, "cn1", "timeout"),
            ],
            Jobs("flux").Select(j => (j.Id, j.Name, j.State, j.Node, j.Reason))
        );
    }

    [Fact]
    public void Jobs_of_lsf_are_told()
    {
        Put(
            "bjobs",
            "echo '17|kiln-a|RUN|cn1|-'\necho '18|kiln-b|PEND|-|-'\necho '19|kiln-c|EXIT|cn1|TERM_MEMLIMIT: job killed'"
        );
        Assert.Equal(
            [
                ("17", "kiln-a", BatchState.Running, "cn1"),
                ("18", "kiln-b", BatchState.Pending, ""),
                ("19", "kiln-c", BatchState.OutOfMemory, "cn1"),
            ],
            Jobs("lsf").Select(j => (j.Id, j.Name, j.State, j.Node))
        );
    }

    private IReadOnlyList<BatchJob> Jobs(string sample)
    {
        var (code, output, errors) = Run(sample, "status");
        Assert.Equal((0, ""), (code, errors));
        return CommandSystem.Jobs(output);
    }

    // A program of the batch system, before all others on the PATH.
    private void Put(string name, string script)
    {
        var file = Path.Combine(_folder, name);
        File.WriteAllText(file, $"#!/bin/sh\n{script}\n");
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private (int Code, string Output, string Errors) Run(
        string sample,
        string verb,
        params ReadOnlySpan<(string Name, string Value)> variables
    )
    {
        var start = new ProcessStartInfo("sh", [Path.Combine(SourceTree.Root, "samples", "launchers", sample), verb])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["PATH"] = $"{_folder}:{Environment.GetEnvironmentVariable("PATH")}";
        foreach (var (name, value) in variables)
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        // Neither says much: no pipe fills up.
        var output = process.StandardOutput.ReadToEnd();
        var errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors);
    }
}
