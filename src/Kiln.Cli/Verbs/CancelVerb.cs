using System.CommandLine;
using Kiln.BuildSpec;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln cancel</c>: asks for a job's end.</summary>
internal static class CancelVerb
{
    public static Command Create(Shell shell)
    {
        var insecure = Connection.InsecureOption();
        var command = new Command("cancel", "Cancel a job.") { insecure };
        var job = JobArgument.On(command);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var address = job.Read(parsed, shell);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var answer = await connection.Builds.CancelAsync(address, cancel);
                        await shell.Out.WriteLineAsync(
                            answer.Done && answer.State != BuildStates.Canceled
                                ? $"job {answer.Id} had ended before: {answer.State}"
                                : $"job {answer.Id}: {answer.State}"
                        );
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }
}
