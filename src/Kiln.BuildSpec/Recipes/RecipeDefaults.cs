using System.Globalization;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>What a recipe says about how it wants to be built, and what of it a request leaves in force.</summary>
public static class RecipeDefaults
{
    /// <summary>The options in a recipe artifact's annotations, as a request would say them.</summary>
    /// <exception cref="OciException"><c>BUILD_RECIPE_INVALID</c>: an annotation has a value that it cannot have.</exception>
    public static JobRequest FromAnnotations(IReadOnlyDictionary<string, string>? annotations)
    {
        if (annotations is null)
        {
            return new JobRequest();
        }

        return new JobRequest
        {
            Tags = List(annotations, RecipeAnnotations.Tags),
            Targets = Targets(annotations),
            Outputs = List(annotations, RecipeAnnotations.Outputs)?.ConvertAll(OutputFormats.Parse),
            Flatten = Truth(annotations, RecipeAnnotations.Flatten),
            Target = annotations.GetValueOrDefault(RecipeAnnotations.Target),
            Emulation = annotations.GetValueOrDefault(RecipeAnnotations.Emulation),
            TimeoutSeconds = Seconds(annotations, RecipeAnnotations.Timeout),
            Args = WithPrefix(annotations, RecipeAnnotations.ArgPrefix),
            Labels = WithPrefix(annotations, RecipeAnnotations.LabelPrefix),
        };
    }

    /// <summary>
    /// What is in force: each member from the first that says it; arguments and labels name by name. The recipe and its
    /// contexts are the request's own.
    /// </summary>
    public static JobRequest Merge(JobRequest request, JobRequest annotations, JobRequest config)
    {
        JobRequest[] layers = [request, annotations, config];
        return request with
        {
            Targets = First(layers, r => r.Targets),
            Args = Union(layers, r => r.Args),
            Target = First(layers, r => r.Target),
            Tags = First(layers, r => r.Tags),
            Labels = Union(layers, r => r.Labels),
            Outputs = First(layers, r => r.Outputs),
            Cache = First(layers, r => r.Cache),
            Reproducible = First(layers, r => r.Reproducible),
            Network = First(layers, r => r.Network),
            Emulation = First(layers, r => r.Emulation),
            Resources = First(layers, r => r.Resources),
            Backend = First(layers, r => r.Backend),
            TagPolicy = First(layers, r => r.TagPolicy),
            Flatten = request.Flatten ?? annotations.Flatten ?? config.Flatten,
            Partial = request.Partial ?? annotations.Partial ?? config.Partial,
            TimeoutSeconds = request.TimeoutSeconds ?? annotations.TimeoutSeconds ?? config.TimeoutSeconds,
            QueueSeconds = request.QueueSeconds ?? annotations.QueueSeconds ?? config.QueueSeconds,
        };
    }

    /// <summary>Platforms and micro-architectures in their short forms, as lists.</summary>
    public static List<BuildTarget>? Targets(IEnumerable<string> platforms, IEnumerable<string> microarchitectures)
    {
        var targets = platforms
            .Select(text => new BuildTarget { Platform = ParsePlatform(text) })
            .Concat(
                microarchitectures.Select(name => new BuildTarget
                {
                    Platform = BuildTargets.FamilyOf(name),
                    Microarchitecture = name,
                })
            )
            .ToList();
        return targets.Count == 0 ? null : targets;
    }

    /// <exception cref="OciException"><c>BUILD_REQUEST_INVALID</c>.</exception>
    public static Platform ParsePlatform(string text) =>
        Platform.TryParse(text, out var platform)
            ? platform
            : throw new OciException(
                BuildErrors.RequestInvalid,
                $"'{text}' is not a platform; write os/architecture[/variant], for example linux/amd64"
            );

    private static List<BuildTarget>? Targets(IReadOnlyDictionary<string, string> annotations)
    {
        try
        {
            return Targets(
                List(annotations, RecipeAnnotations.Platforms) ?? [],
                List(annotations, RecipeAnnotations.Microarchitectures) ?? []
            );
        }
        catch (OciException e)
        {
            throw new OciException(BuildErrors.RecipeInvalid, $"{RecipeAnnotations.Platforms}: {e.Message}");
        }
    }

    private static List<string>? List(IReadOnlyDictionary<string, string> annotations, string key) =>
        annotations.TryGetValue(key, out var text)
            ? [.. text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)]
            : null;

    private static bool? Truth(IReadOnlyDictionary<string, string> annotations, string key) =>
        annotations.GetValueOrDefault(key) switch
        {
            null => null,
            "true" => true,
            "false" => false,
            var text => throw new OciException(
                BuildErrors.RecipeInvalid,
                $"{key} is '{text}'; it must be true or false"
            ),
        };

    private static int? Seconds(IReadOnlyDictionary<string, string> annotations, string key) =>
        !annotations.TryGetValue(key, out var text) ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var seconds) ? seconds
        : throw new OciException(BuildErrors.RecipeInvalid, $"{key} is '{text}'; it must be a whole number of seconds");

    private static Dictionary<string, string>? WithPrefix(
        IReadOnlyDictionary<string, string> annotations,
        string prefix
    )
    {
        var found = annotations
            .Where(a => a.Key.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(a => a.Key[prefix.Length..], a => a.Value, StringComparer.Ordinal);
        return found.Count == 0 ? null : found;
    }

    private static T? First<T>(JobRequest[] layers, Func<JobRequest, T?> member)
        where T : class => layers.Select(member).FirstOrDefault(value => value is not null);

    private static Dictionary<string, string>? Union(
        JobRequest[] layers,
        Func<JobRequest, IReadOnlyDictionary<string, string>?> member
    )
    {
        var union = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in layers.SelectMany(layer => member(layer) ?? new Dictionary<string, string>()))
        {
            union.TryAdd(key, value);
        }

        return union.Count == 0 ? null : union;
    }
}
