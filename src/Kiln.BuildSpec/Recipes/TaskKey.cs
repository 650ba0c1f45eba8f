using System.Globalization;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>The build key of a task: what of it can change the product (build-extension, decision 3).</summary>
public static class TaskKey
{
    /// <param name="contexts">Tree digests, in order.</param>
    /// <param name="engines">Names and versions of the engines that there are, as <c>info</c> has them.</param>
    public static BuildKey Of(
        LeaseTask task,
        IReadOnlyList<Digest> contexts,
        string? microarchitecture,
        IReadOnlyList<string> engines
    ) =>
        new()
        {
            BuildType = task.RecipeType,
            Recipe = task.Recipe.Digest,
            Contexts = contexts,
            Target = task.Target ?? "",
            Args = task.Args,
            Secrets = task.SecretIds,
            Platform = task.Platform,
            Microarchitecture = microarchitecture ?? "",
            Format = task.Format,
            Options = Options(task, EngineOf(task.RecipeType, engines)),
        };

    // The first builds by default; definitions have one of their own.
    private static string EngineOf(string recipeType, IReadOnlyList<string> engines) =>
        (
            recipeType == RecipeTypes.Singularity
                ? engines.FirstOrDefault(e => e.StartsWith("apptainer ", StringComparison.Ordinal))
                : null
        ) ?? (engines.Count == 0 ? "" : engines[0]);

    private static Dictionary<string, string> Options(LeaseTask task, string engine)
    {
        var options = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["compression"] = task.Compression ?? OutputFormats.Gzip,
            ["engine"] = Major(engine),
            ["network"] = task.Network,
            ["sourceDate"] = task.SourceDateEpoch?.ToString(CultureInfo.InvariantCulture) ?? "",
        };
        // What was built by emulation must not answer who does not want it.
        if (task.Emulation is { } emulation)
        {
            options["emulation"] = emulation;
        }

        foreach (var (name, value) in task.Labels)
        {
            options["label." + name] = value;
        }

        foreach (var pinned in task.PinnedBases ?? [])
        {
            options["base." + pinned.Uri] = pinned.Digest.ToString();
        }

        return options;
    }

    // "buildah 1.28.2" is "buildah/1": a fix of the engine does not make all results stale.
    private static string Major(string engine)
    {
        var space = engine.IndexOf(' ', StringComparison.Ordinal);
        return space < 0 ? engine : $"{engine[..space]}/{engine[(space + 1)..].Split('.')[0]}";
    }
}
