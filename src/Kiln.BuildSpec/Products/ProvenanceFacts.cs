using System.Globalization;
using Kiln.Oci;

namespace Kiln.BuildSpec.Products;

/// <summary>What a statement says of a build's inputs (build-extension, V-4).</summary>
public static class ProvenanceFacts
{
    /// <summary>What was asked for, after all defaults. No secret's id and no argument of a secret's name is in it.</summary>
    public static ProvenanceParameters Parameters(LeaseTask task, JobRecipe recipe, string? microarchitecture) =>
        new()
        {
            Recipe = recipe,
            Platform = task.Platform.ToString(),
            Microarchitecture = microarchitecture,
            Format = task.Format,
            Compression = task.Compression,
            Args = Sorted(task.Args.Where(a => !task.SecretIds.Contains(a.Key, StringComparer.Ordinal))),
            Labels = Sorted(task.Labels),
            Target = task.Target,
            Network = task.Network,
            Emulation = task.Emulation,
            Reproducible =
                task.SourceDateEpoch is null && task.PinnedBases is null
                    ? null
                    : new ReproducibleOptions { SourceDateEpoch = task.SourceDateEpoch, Bases = task.PinnedBases },
            TimeoutSeconds = task.TimeoutSeconds,
            StepCache = task.UseStepCache,
            UsesSecrets = task.SecretIds.Count > 0,
        };

    /// <summary>
    /// What went in: the recipe artifact, its recipe layer, the contexts and the bases; or the image of which it is made.
    /// </summary>
    /// <param name="task">What was built.</param>
    /// <param name="recipe">Digest of the recipe artifact's manifest.</param>
    /// <param name="repository">Address of the repository's API, <c>ORIGIN/v2/NAME</c>.</param>
    /// <param name="bases">Pinned, as the node reports them.</param>
    public static IReadOnlyList<ProvenanceMaterial> Materials(
        LeaseTask task,
        Digest recipe,
        string repository,
        IReadOnlyList<ResolvedDependency> bases
    ) =>
        task.RecipeType == RecipeTypes.Image
            ?
            [
                Material(ProvenanceNames.Image, task.Recipe) with
                {
                    Uri = $"{repository}/manifests/{task.Recipe.Digest}",
                },
            ]
            : OfBuild(task, recipe, repository, bases);

    private static List<ProvenanceMaterial> OfBuild(
        LeaseTask task,
        Digest recipe,
        string repository,
        IReadOnlyList<ResolvedDependency> bases
    ) =>
        [
            Material(ProvenanceNames.Recipe, recipe) with
            {
                Uri = $"{repository}/manifests/{recipe}",
                MediaType = MediaTypes.OciManifest,
            },
            Blob(ProvenanceNames.RecipeLayer, task.Recipe, repository),
            .. task.Contexts.Select(c =>
                Blob(ProvenanceNames.Context, c.Blob, repository) with
                {
                    Annotations =
                        c.Strip == 0
                            ? null
                            : new Dictionary<string, string>
                            {
                                [ProvenanceNames.Strip] = c.Strip.ToString(CultureInfo.InvariantCulture),
                            },
                }
            ),
            .. bases.Select(b => Material(ProvenanceNames.Base, b.Digest) with { Uri = b.Uri }),
        ];

    /// <summary>Some bytes under a name.</summary>
    public static ProvenanceMaterial Material(string name, Digest digest) =>
        new() { Name = name, Digest = ProvenanceMaterial.DigestOf(digest) };

    /// <inheritdoc cref="Material(string, Digest)"/>
    public static ProvenanceMaterial Material(string name, Descriptor blob) =>
        Material(name, blob.Digest) with
        {
            MediaType = blob.MediaType,
        };

    /// <summary>A time as statements have it: RFC 3339 in UTC.</summary>
    /// <param name="milliseconds">Since 1970.</param>
    public static string Time(long milliseconds) =>
        DateTimeOffset
            .FromUnixTimeMilliseconds(milliseconds)
            .UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    private static ProvenanceMaterial Blob(string name, Descriptor blob, string repository) =>
        Material(name, blob) with
        {
            Uri = $"{repository}/blobs/{blob.Digest}",
        };

    private static SortedDictionary<string, string> Sorted(IEnumerable<KeyValuePair<string, string>> pairs)
    {
        var sorted = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in pairs)
        {
            sorted[key] = value;
        }

        return sorted;
    }
}
