using System.Globalization;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Definitions;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Node.Engines.Buildah;
using Kiln.Node.Sandbox;
using Kiln.Oci;

namespace Kiln.Node.Engines.Apptainer;

/// <summary>
/// Builds definitions with Apptainer, rootless, in the jail in which everything is built. What it makes becomes layers of an image
/// in a store of buildah's, which also keeps finished sections for later builds.
/// </summary>
internal sealed class ApptainerEngine(ApptainerProbe probe, StoreBuild store) : IEngine
{
    // Of the step cache: what the one engine keeps is nothing that the other may read.
    private const string Kind = "\napptainer";

    public string Name => probe.Name;

    public EngineAbilities Abilities =>
        new()
        {
            RecipeTypes = [RecipeTypes.Singularity],
            Platforms = [BuildahProbe.HostPlatform],
            Networks = [],
            StepCache = true,
        };

    public IReadOnlyList<BaseReference> BasesOf(LeaseTask task, string recipe)
    {
        if (task.Platform.Architecture != BuildahProbe.HostPlatform.Architecture)
        {
            throw new FormatException(
                $"Apptainer builds for its own machine's processors only, which are {BuildahProbe.HostPlatform.Architecture} here; a definition for {task.Platform} needs a node of that family"
            );
        }

        var (definition, stage) = Read(task, recipe);
        if (
            !probe.Debootstrap
            && definition.Needed(stage).Any(i => definition.Stages[i].Agent == BootstrapAgents.Debootstrap)
        )
        {
            throw new FormatException(
                "'Bootstrap: debootstrap' needs debootstrap, which is not installed beside this node's Apptainer"
            );
        }

        return definition.Bases(stage, task.Platform);
    }

    public async Task<EngineResult> BuildAsync(EngineTask task, IBuildListener listener, CancellationToken cancel)
    {
        var (definition, stage) = Read(task.Task, task.Recipe);
        var plan = new DefinitionPlan(task, definition, stage, Name, Script());
        plan.Write();
        var lines = new ApptainerLines(plan.Steps);
        var output = new BuildahOutput(plan.Steps.Select(s => (s.Stage, s.Number, s.Text)), listener, lines.Translate);
        var recipe = new StoreRecipe
        {
            Engine = Name,
            Kind = Kind,
            Instructions = 2 * plan.Stages,
            Command =
            [
                "sh",
                "/engine.sh",
                plan.Stages.ToString(CultureInfo.InvariantCulture),
                task.Task.SourceDateEpoch?.ToString(CultureInfo.InvariantCulture) ?? "",
            ],
            Binds = [.. probe.Binds, .. plan.Binds],
            Programs = probe.Programs,
            FinalBase = plan.FinalBase,
            Display = plan.Display,
            Failure = () => lines.Failure,
        };
        var result = await store.RunAsync(task, recipe, output, listener, cancel);
        return result.Config is { } config
            ? result with
            {
                Config = ProductConfig.Complete(
                    config,
                    new UntrustedTree(Path.Combine(task.Directory, "build")),
                    task.Task.Labels
                ),
            }
            : result;
    }

    public Task KeepStepsAsync(
        EngineTask task,
        IReadOnlyDictionary<string, PublishedLayer> layers,
        CancellationToken cancel
    ) => store.KeepStepsAsync(task, Kind, layers, cancel);

    public Task CleanUpAsync(string directory, CancellationToken cancel) => store.CleanUpAsync(directory, cancel);

    private string Script() => File.ReadAllText(probe.Binds[^1].Host);

    private static (Definition Definition, int Stage) Read(LeaseTask task, string recipe)
    {
        var definition = Definition.Parse(
            recipe,
            DefinitionArguments.For(task.Args, task.Platform, task.Microarchitecture)
        );
        var stage = definition.StageIndex(task.Target);
        return stage >= 0
            ? (definition, stage)
            : throw new FormatException($"there is no stage '{task.Target}' in the definition");
    }
}
