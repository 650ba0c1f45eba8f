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
        var check = new Option<bool>("--check")
        {
            Description = "Say all that is wrong with configuration, policy, database and storage, and end.",
        };
        var command = new Command("serve", "Run the registry and its build service.") { schema, check };
        var settings = ServerSettings.On(command, shell);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    () =>
                        parsed.GetValue(schema)
                            ? PrintSchemaAsync(shell)
                            : RunAsync(settings.Load(parsed), parsed.GetValue(check), shell, cancel)
                )
        );
        return command;
    }

    private static async Task<int> PrintSchemaAsync(Shell shell)
    {
        await shell.Out.WriteAsync(ServerConfiguration.Schema());
        return ExitCodes.Ok;
    }

    private static async Task<int> CheckAsync(ConfigurationResult configuration, Shell shell)
    {
        var (faults, warnings, right) = await ServerCheck.RunAsync(configuration.Options, shell.Time);
        foreach (var line in right)
        {
            await shell.Out.WriteLineAsync($"right: {TerminalText.Escape(line)}");
        }

        foreach (var line in warnings)
        {
            await shell.Error.WriteLineAsync($"warning: {TerminalText.Escape(line)}");
        }

        faults = [.. configuration.Faults, .. faults];
        foreach (var line in faults)
        {
            await shell.Error.WriteLineAsync($"wrong: {TerminalText.Escape(line)}");
        }

        return faults.Count == 0 ? ExitCodes.Ok : ExitCodes.Usage;
    }

    private static async Task<int> RunAsync(
        ConfigurationResult configuration,
        bool check,
        Shell shell,
        CancellationToken cancel
    )
    {
        foreach (var warning in configuration.Warnings)
        {
            await shell.Error.WriteLineAsync($"warning: {TerminalText.Escape(warning)}");
        }

        if (check)
        {
            return await CheckAsync(configuration, shell);
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
