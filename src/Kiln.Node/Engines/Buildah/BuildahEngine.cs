using System.Globalization;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Oci;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Builds Dockerfiles with buildah, rootless.
/// </summary>
internal sealed class BuildahEngine(BuildahProbe probe, StoreBuild store) : IEngine
{
    private static readonly Platform Host = BuildahProbe.HostPlatform;

    public string Name => probe.Name;

    public EngineAbilities Abilities => probe.Abilities;

    public IReadOnlyList<BaseReference> BasesOf(LeaseTask task, string recipe)
    {
        var (file, stage) = Read(task, recipe);
        return new DockerfileBases(file, task.Args, task.Platform, Host, stage).References();
    }

    public Task<EngineResult> BuildAsync(EngineTask task, IBuildListener listener, CancellationToken cancel)
    {
        var (file, stage) = Read(task.Task, task.Recipe);
        var inputs = Prepare(task, file, stage);
        var output = new BuildahOutput(BuildahOutput.StepsOf(file, stage), listener, inputs.Display);
        var recipe = new StoreRecipe
        {
            Engine = Name,
            Instructions = file.Stages.Sum(s => s.Instructions.Count + 1),
            Command = inputs.Command,
            FinalBase = FinalBase(task, file, stage),
            Display = inputs.Display,
        };
        return store.RunAsync(task, recipe, output, listener, cancel);
    }

    public Task KeepStepsAsync(
        EngineTask task,
        IReadOnlyDictionary<string, PublishedLayer> layers,
        CancellationToken cancel
    ) => store.KeepStepsAsync(task, "", layers, cancel);

    public Task CleanUpAsync(string directory, CancellationToken cancel) => store.CleanUpAsync(directory, cancel);

    private static (Dockerfile File, int Stage) Read(LeaseTask task, string recipe)
    {
        if (!Dockerfile.TryParse(recipe, out var file, out var fault))
        {
            throw new FormatException(fault);
        }

        var stage = file.StageIndex(task.Target);
        return stage >= 0
            ? (file, stage)
            : throw new FormatException($"there is no stage '{task.Target}' in the recipe");
    }

    private sealed record Inputs(List<string> Command, Func<string, string> Display);

    private Inputs Prepare(EngineTask task, Dockerfile file, int stage)
    {
        var build = Path.Combine(task.Directory, "build");
        var byReference = task.Bases.ToDictionary(b => b.Reference);
        var recipe = new DockerfileBases(file, task.Task.Args, task.Task.Platform, Host, stage).Rewrite(
            reference => BaseStores.ImageName(byReference[reference].Manifest),
            lowerHeredocs: !probe.KnowsHeredocs
        );
        Directory.CreateDirectory(build);
        File.WriteAllText(Path.Combine(build, "Containerfile"), recipe);
        var secrets = Directory.CreateDirectory(
            NodeDirectory.SecretsOf(task.Directory),
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        );
        foreach (var secret in task.Task.Secrets ?? [])
        {
            File.WriteAllBytes(Path.Combine(secrets.FullName, secret.Id), secret.Value);
        }

        var names = task.Bases.Select(b => (Internal: BaseStores.ImageName(b.Manifest), b.Reference.Written)).ToList();
        string Display(string line) =>
            names.Aggregate(line, (text, name) => text.Replace(name.Internal, name.Written, StringComparison.Ordinal));
        return new Inputs(Command(task.Task), Display);
    }

    private static List<string> Command(LeaseTask task)
    {
        List<string> command =
        [
            "buildah",
            "bud",
            "--layers",
            "--pull-never",
            "--isolation",
            "chroot",
            // The jail's own network namespace decides; buildah's chroot isolation knows no other word.
            "--network",
            "host",
            // Docker's format keeps HEALTHCHECK, SHELL and ONBUILD; the product is OCI all the same.
            "--format",
            "docker",
            "--identity-label=false",
            "--iidfile",
            "/build/iid",
            "-f",
            "/build/Containerfile",
        ];
        if (task.SourceDateEpoch is { } epoch)
        {
            command.AddRange(["--timestamp", epoch.ToString(CultureInfo.InvariantCulture)]);
        }

        if (!task.UseStepCache)
        {
            command.Add("--no-cache");
        }

        command.AddRange(task.Args.SelectMany(a => new[] { "--build-arg", $"{a.Key}={a.Value}" }));
        command.AddRange(task.Labels.SelectMany(l => new[] { "--label", $"{l.Key}={l.Value}" }));
        command.AddRange(
            (task.Secrets ?? []).SelectMany(s => new[] { "--secret", $"id={s.Id},src=/build/secrets/{s.Id}" })
        );
        command.Add("/build/ctx");
        return command;
    }

    private static FetchedBase? FinalBase(EngineTask task, Dockerfile file, int stage)
    {
        var references = new DockerfileBases(file, task.Task.Args, task.Task.Platform, Host, stage);
        return references.BaseOf(stage) is { } reference ? task.Bases.First(b => b.Reference == reference) : null;
    }
}
