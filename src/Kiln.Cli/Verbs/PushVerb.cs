using System.CommandLine;
using Kiln.BuildSpec;
using Kiln.Cli.Context;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln push</c>: a recipe, with its files, as an artifact; the registry may build it on its own.</summary>
internal static class PushVerb
{
    public static Command Create(Shell shell)
    {
        var recipe = new RecipeOptions();
        var image = new Argument<string>("artifact")
        {
            Description = "Where the recipe goes: HOST/NAME:TAG. A tag such as 1.0.recipe delivers 1.0.",
        };
        var deliver = new Option<string[]>("--deliver")
        {
            Description = "A tag that the built image gets.",
            HelpName = "TAG",
        };
        var insecure = Connection.InsecureOption();
        var command = new Command("push", "Push a recipe and its files as an artifact, which may start a build.")
        {
            image,
        };
        recipe.AddTo(command);
        command.Add(deliver);
        command.Add(insecure);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var target = References.Target(parsed.GetRequiredValue(image), shell);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        using var input = await BuildInput.ReadAsync(
                            parsed.GetValue(recipe.File),
                            parsed.GetValue(recipe.Context),
                            long.MaxValue,
                            shell,
                            cancel
                        );
                        var annotations = Annotations(parsed, recipe, parsed.GetValue(deliver) ?? [], shell);
                        return await new RecipePush(connection, shell).RunAsync(target, input, annotations, cancel);
                    }
                )
        );
        return command;
    }

    private static SortedDictionary<string, string> Annotations(
        ParseResult parsed,
        RecipeOptions recipe,
        string[] deliver,
        Shell shell
    )
    {
        var annotations = new SortedDictionary<string, string>(StringComparer.Ordinal);
        if (Array.Find(deliver, tag => !Tag.TryParse(tag, out _)) is { } wrong)
        {
            throw CommandFailure.Usage($"'{wrong}' is not a tag; --deliver takes a tag only, not a reference");
        }

        void Add(string key, string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                annotations[key] = value;
            }
        }

        Add(RecipeAnnotations.Tags, string.Join(',', deliver));
        Add(
            RecipeAnnotations.Platforms,
            string.Join(',', RecipeOptions.PlatformsOf(parsed.GetValue(recipe.Platforms)))
        );
        Add(
            RecipeAnnotations.Microarchitectures,
            string.Join(',', RecipeOptions.MicroarchitecturesOf(parsed.GetValue(recipe.Microarchitectures)))
        );
        Add(RecipeAnnotations.Target, parsed.GetValue(recipe.TargetStage));
        Add(RecipeAnnotations.Timeout, parsed.GetValue(recipe.Timeout)?.ToString());
        foreach (var (key, value) in RecipeOptions.Pairs(parsed.GetValue(recipe.Args), "--build-arg", shell.Variable))
        {
            annotations[RecipeAnnotations.ArgPrefix + key] = value;
        }

        foreach (var (key, value) in RecipeOptions.Pairs(parsed.GetValue(recipe.Labels), "--label"))
        {
            annotations[RecipeAnnotations.LabelPrefix + key] = value;
        }

        return annotations;
    }
}
