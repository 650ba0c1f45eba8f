using System.CommandLine;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln serve</c>: the registry, and the builder in it.</summary>
internal static class ServeVerb
{
    public static Command Create(Shell shell)
    {
        var urls = new Option<string>("--urls")
        {
            Description = "Where to listen.",
            HelpName = "URL",
            DefaultValueFactory = _ => "http://127.0.0.1:5000",
        };
        var noBuilds = new Option<bool>("--no-builds") { Description = "Be a registry only." };
        var unsafeBuilds = new Option<bool>("--unsafe-builds")
        {
            Description = "Build even where this machine cannot keep a build apart from the server's own account.",
        };
        var hostNetwork = new Option<bool>("--allow-host-network")
        {
            Description = "Let requests ask for the host's network.",
        };
        var insecure = Connection.InsecureOption();

        var command = new Command("serve", "Run the registry and its build service.")
        {
            urls,
            noBuilds,
            unsafeBuilds,
            hostNetwork,
            insecure,
        };
        var state = StateOptions.On(command, shell);
        var limits = BuildLimits.On(command);
        var access = AccessSettings.On(command, shell);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    () =>
                        RunAsync(
                            state.Of(parsed) with
                            {
                                Urls = parsed.GetRequiredValue(urls),
                                Access = access.Apply(parsed),
                                Build = limits.Apply(
                                    new BuildOptions
                                    {
                                        LocalNode = !parsed.GetValue(noBuilds),
                                        Unsafe = parsed.GetValue(unsafeBuilds),
                                        AllowHostNetwork = parsed.GetValue(hostNetwork),
                                        InsecureRegistries = parsed.GetValue(insecure) ?? [],
                                    },
                                    parsed
                                ),
                            },
                            cancel
                        )
                )
        );
        return command;
    }

    private static async Task<int> RunAsync(ServerOptions options, CancellationToken cancel)
    {
        try
        {
            await KilnServer.RunAsync(options, cancel);
            return ExitCodes.Ok;
        }
        catch (ServerStartException e)
        {
            throw CommandFailure.NotPossible(e.Message);
        }
    }
}
