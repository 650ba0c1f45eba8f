using System.CommandLine;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln serve</c>: the registry, and the builder in it.</summary>
internal static class ServeVerb
{
    public static Command Create(Shell shell)
    {
        var schema = new Option<bool>("--print-schema")
        {
            Description = "Print a JSON schema of the configuration file, and nothing else.",
        };
        var command = new Command("serve", "Run the registry and its build service.") { schema };
        var settings = ServerSettings.On(command, shell);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    () =>
                        parsed.GetValue(schema)
                            ? PrintSchemaAsync(shell)
                            : RunAsync(settings.Load(parsed), shell, cancel)
                )
        );
        return command;
    }

    private static async Task<int> PrintSchemaAsync(Shell shell)
    {
        await shell.Out.WriteAsync(ServerConfiguration.Schema());
        return ExitCodes.Ok;
    }

    private static async Task<int> RunAsync(ConfigurationResult configuration, Shell shell, CancellationToken cancel)
    {
        foreach (var warning in configuration.Warnings)
        {
            await shell.Error.WriteLineAsync($"warning: {TerminalText.Escape(warning)}");
        }

        if (configuration.Faults.Count > 0)
        {
            throw CommandFailure.Usage($"the configuration is wrong:\n  {string.Join("\n  ", configuration.Faults)}");
        }

        try
        {
            await KilnServer.RunAsync(configuration.Options, cancel);
            return ExitCodes.Ok;
        }
        catch (ServerStartException e)
        {
            throw CommandFailure.NotPossible(e.Message);
        }
    }
}
