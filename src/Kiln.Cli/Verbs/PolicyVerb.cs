using System.CommandLine;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln policy</c>: looks at a policy file without a server.</summary>
internal static class PolicyVerb
{
    /// <summary>Names the policy file, here as for <c>kiln serve</c>, where <c>--policy</c> is not given.</summary>
    private const string PolicyVariable = "KILN_POLICY";

    public static Command Create(Shell shell) =>
        new("policy", "Check a policy file, and ask it who may do what.") { Check(shell), Explain(shell) };

    private static Option<string?> PolicyOption() =>
        new("--policy")
        {
            Description = $"The file that says who may do what; ${PolicyVariable} otherwise.",
            HelpName = "FILE",
        };

    private static Command Check(Shell shell)
    {
        var file = new Argument<string>("file") { Description = "The policy file.", HelpName = "FILE" };
        var command = new Command("check", "Say all that is wrong with a policy file.") { file };
        command.SetAction(
            (parsed, _) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var name = parsed.GetRequiredValue(file);
                        var report = PolicyReport.Check(name);
                        foreach (var line in report.Warnings)
                        {
                            await shell.Error.WriteLineAsync($"warning: {TerminalText.Escape(line)}");
                        }

                        foreach (var line in report.Faults)
                        {
                            await shell.Error.WriteLineAsync(TerminalText.Escape(line));
                        }

                        if (report.Faults.Count > 0)
                        {
                            return ExitCodes.Usage;
                        }

                        await shell.Out.WriteLineAsync($"{name}: right");
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static Command Explain(Shell shell)
    {
        var policy = PolicyOption();
        var user = new Argument<string>("user")
        {
            Description = "A user, ISSUER:USER, or 'anonymous'.",
            HelpName = "USER",
        };
        var repository = new Argument<string>("repository") { Description = "A repository.", HelpName = "REPOSITORY" };
        var action = new Argument<string>("action")
        {
            Description = "pull, push, delete, build or admin.",
            HelpName = "ACTION",
        };
        var claims = new Option<string[]>("--claim")
        {
            Description = "A claim in the token of ISSUER:USER, as NAME=VALUE.",
            HelpName = "CLAIM",
        };
        var command = new Command("explain", "Say whether somebody may do something, and which rule decides it.")
        {
            user,
            repository,
            action,
            claims,
            policy,
        };
        command.SetAction(
            (parsed, _) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var file =
                            (
                                parsed.GetValue(policy)
                                ?? (shell.Variable(PolicyVariable) is { Length: > 0 } named ? named : null)
                            )
                            ?? throw CommandFailure.Usage(
                                $"name the policy file with --policy FILE or in {PolicyVariable}"
                            );
                        var answer = PolicyReport.Explain(
                            file,
                            parsed.GetRequiredValue(user),
                            parsed.GetRequiredValue(repository),
                            parsed.GetRequiredValue(action),
                            parsed.GetValue(claims) ?? []
                        );
                        foreach (var line in answer.Lines)
                        {
                            await shell.Out.WriteLineAsync(TerminalText.Escape(line));
                        }

                        return answer.Allowed ? ExitCodes.Ok : ExitCodes.RecipeFailed;
                    }
                )
        );
        return command;
    }
}
