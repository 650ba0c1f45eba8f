using System.CommandLine;
using Kiln.Cli.Progress;
using Kiln.Client.Builds;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln logs</c>: the log of a job, as it is or as it grows.</summary>
internal static class LogsVerb
{
    public static Command Create(Shell shell)
    {
        var follow = new Option<bool>("--follow", "-f")
        {
            Description = "Go on until the job ends, and end as it ended.",
        };
        var task = new Option<string?>("--task")
        {
            Description = "Which task of a job with several.",
            HelpName = "TASK",
        };
        var insecure = Connection.InsecureOption();
        var command = new Command("logs", "Show the log of a job.") { follow, task, insecure };
        var job = JobArgument.On(command);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var address = job.Read(parsed, shell);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        return parsed.GetValue(follow)
                            ? await FollowAsync(connection.Builds, address, parsed.GetValue(task), shell, cancel)
                            : await ShowAsync(connection.Builds, address, parsed.GetValue(task), shell, cancel);
                    }
                )
        );
        return command;
    }

    private static async Task<int> ShowAsync(
        BuildClient builds,
        JobAddress address,
        string? task,
        Shell shell,
        CancellationToken cancel
    )
    {
        using var writer = new LogWriter(shell.Out);
        await builds.CopyLogAsync(address, task, 0, writer, cancel);
        return ExitCodes.Ok;
    }

    private static async Task<int> FollowAsync(
        BuildClient builds,
        JobAddress address,
        string? task,
        Shell shell,
        CancellationToken cancel
    )
    {
        var patient = new PatientBuilds(builds, shell.Time, shell.Error.WriteLine, answered: false);
        using (var writer = new LogWriter(shell.Out))
        {
            await foreach (var happened in patient.FollowAsync(address, task, cancel))
            {
                if (happened is LogEvent log)
                {
                    writer.Add(log.Text);
                }
            }
        }

        var job = await patient.GetAsync(address, TimeSpan.FromSeconds(30), cancel);
        if (!job.Done || job.State == BuildSpec.BuildStates.Succeeded)
        {
            return ExitCodes.Ok;
        }

        var (code, message) = BuildRun.Outcome(job);
        await shell.Error.WriteLineAsync($"kiln: {TerminalText.Escape(message)}");
        return code;
    }
}
