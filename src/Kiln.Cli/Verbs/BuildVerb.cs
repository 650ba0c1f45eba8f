using System.CommandLine;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Cli.Progress;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln build</c>: packs, pushes, follows, prints the digest.</summary>
internal sealed class BuildVerb
{
    private readonly RecipeOptions _recipe = new();
    private readonly RequestOptions _request = new();

    private readonly Option<string[]> _tags = new("--tag", "-t")
    {
        Description = "Where the image goes: HOST/NAME:TAG. Several tags have to be in one repository.",
        HelpName = "IMAGE",
        Required = true,
    };

    private readonly Option<string[]> _secrets = new("--secret")
    {
        Description = "A secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=VARIABLE.",
        HelpName = "SECRET",
    };

    private readonly Option<string?> _network = new("--network") { Description = "The network that steps see." };

    private readonly Option<bool> _detach = new("--detach", "-d")
    {
        Description = "Print the job and leave it running.",
    };

    private readonly Option<bool> _json = new("--json") { Description = "One JSON object a line on standard output." };

    private readonly Option<string> _progress = new("--progress")
    {
        Description = "How progress is shown on standard error.",
        DefaultValueFactory = _ => ProgressModes.Auto,
    };

    private readonly Option<string[]> _insecure = Connection.InsecureOption();

    private BuildVerb()
    {
        _network.AcceptOnlyFromAmong(NetworkModes.Isolated, NetworkModes.None, NetworkModes.Host);
        _progress.AcceptOnlyFromAmong(ProgressModes.Auto, ProgressModes.Plain, ProgressModes.Terminal);
    }

    public static Command Create(Shell shell)
    {
        var verb = new BuildVerb();
        var command = new Command("build", "Build an image on a registry from a recipe and a directory.")
        {
            verb._tags,
        };
        verb._recipe.AddTo(command);
        verb._request.AddTo(command);
        foreach (
            var option in new Option[]
            {
                verb._secrets,
                verb._network,
                verb._detach,
                verb._json,
                verb._progress,
                verb._insecure,
            }
        )
        {
            command.Add(option);
        }

        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var settings = verb.Read(parsed, shell);
                        using var connection = Connection.Open(shell, parsed.GetValue(verb._insecure));
                        return await new BuildRun(settings, connection, shell).RunAsync(cancel);
                    }
                )
        );
        return command;
    }

    private BuildSettings Read(ParseResult parsed, Shell shell) =>
        new()
        {
            Tags = [.. parsed.GetRequiredValue(_tags).Select(t => References.Target(t, shell))],
            File = parsed.GetValue(_recipe.File),
            Context = parsed.GetValue(_recipe.Context),
            Args = RecipeOptions.Pairs(parsed.GetValue(_recipe.Args), "--build-arg", shell.Variable),
            Labels = RecipeOptions.Pairs(parsed.GetValue(_recipe.Labels), "--label"),
            Targets = RecipeDefaults.Targets(
                RecipeOptions.PlatformsOf(parsed.GetValue(_recipe.Platforms)).Select(p => p.ToString()),
                RecipeOptions.MicroarchitecturesOf(parsed.GetValue(_recipe.Microarchitectures))
            ),
            Secrets = [.. (parsed.GetValue(_secrets) ?? []).Select(SecretSource.Parse)],
            Target = parsed.GetValue(_recipe.TargetStage),
            Network = parsed.GetValue(_network),
            TimeoutSeconds = parsed.GetValue(_recipe.Timeout),
            Conditions = _request.Read(parsed, shell),
            Detach = parsed.GetValue(_detach),
            Json = parsed.GetValue(_json),
            Progress = parsed.GetRequiredValue(_progress),
        };
}
