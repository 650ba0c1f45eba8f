using System.CommandLine;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Cli.Progress;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln jobs</c>: what a repository was asked to build.</summary>
internal static class JobsVerb
{
    private const int DefaultLimit = 20;

    public static Command Create(Shell shell)
    {
        var repository = new Argument<string>("repository") { Description = "HOST/NAME.", HelpName = "REPOSITORY" };
        var state = new Option<string?>("--state") { Description = "Only jobs in this state.", HelpName = "STATE" };
        state.AcceptOnlyFromAmong(
            BuildStates.Queued,
            BuildStates.Running,
            BuildStates.Canceling,
            BuildStates.Succeeded,
            BuildStates.Failed,
            BuildStates.Canceled
        );
        var limit = Arguments.Whole("--limit", "How many at most, newest first.", least: 0, DefaultLimit, "-n");
        var json = new Option<bool>("--json") { Description = "One JSON object a line." };
        var insecure = Connection.InsecureOption();
        var command = new Command("jobs", "List the jobs of a repository.")
        {
            repository,
            state,
            limit,
            json,
            insecure,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var jobs = await connection.Builds.ListAsync(
                            References.Repository(parsed.GetRequiredValue(repository), shell),
                            parsed.GetValue(state),
                            Math.Max(1, parsed.GetValue(limit)),
                            cancel
                        );
                        Print(jobs, parsed.GetValue(json), shell);
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static void Print(IReadOnlyList<Job> jobs, bool json, Shell shell)
    {
        if (json)
        {
            foreach (var job in jobs)
            {
                shell.Out.WriteLine(JsonSerializer.Serialize(job, BuildJson.Default.Job));
            }

            return;
        }

        var rows = jobs.Select(job =>
            (string[])
                [
                    job.Id,
                    job.Reason is null ? job.State : $"{job.State} ({job.Reason})",
                    Sizes.Text(shell.Time.GetUtcNow() - job.Created) + " ago",
                    job.Started is { } started ? Sizes.Text((job.Finished ?? shell.Time.GetUtcNow()) - started) : "",
                    string.Join(',', job.Tags),
                    TaskText.Names(job.Tasks),
                ]
        );
        Columns.Write(
            shell.Out,
            [
                ["JOB", "STATE", "CREATED", "TOOK", "TAGS", "PLATFORMS"],
                .. rows,
            ]
        );
    }
}
