using System.Globalization;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>
/// What a recipe artifact holds: exactly one recipe, and contexts in their order (build-extension, "Recipe artifact").
/// </summary>
public sealed record RecipeArtifact(string RecipeType, Descriptor Recipe, IReadOnlyList<LeaseContext> Contexts)
{
    private const string RecipeRole = "recipe";
    private const string ContextRole = "context";
    private const int MaxStrip = 64;

    /// <summary>Whether a manifest is a recipe: by its artifact type or, from tools that set none, by its config's type.</summary>
    public static bool Is(ManifestInfo manifest) =>
        manifest.EffectiveArtifactType == BuildMediaTypes.Recipe
        || manifest.Config?.MediaType == BuildMediaTypes.RecipeConfig;

    /// <exception cref="OciException"><c>BUILD_RECIPE_INVALID</c>: no recipe, several, or a layer of no known role.</exception>
    public static RecipeArtifact Read(ManifestInfo manifest)
    {
        (string Type, Descriptor Layer)? recipe = null;
        var contexts = new List<LeaseContext>();
        foreach (var layer in manifest.Layers)
        {
            var (role, type) = RoleOf(layer);
            if (role == ContextRole)
            {
                contexts.Add(new LeaseContext { Blob = layer, Strip = Strip(layer) });
            }
            else if (recipe is null)
            {
                recipe = (type!, layer);
            }
            else
            {
                throw Invalid(
                    $"the artifact has two recipes, '{Name(recipe.Value.Layer)}' and '{Name(layer)}'; say which one is "
                        + $"meant with the annotation {RecipeAnnotations.Role} on the layers"
                );
            }
        }

        return recipe is { } found
            ? new RecipeArtifact(found.Type, found.Layer, contexts)
            : throw Invalid(
                $"the artifact has no recipe layer; give one the media type {BuildMediaTypes.Dockerfile} or "
                    + $"{BuildMediaTypes.Singularity}, or the title Containerfile, Dockerfile or NAME.def"
            );
    }

    // "media type, then annotation, then title". A plain tar type says nothing: it is what oras calls any file.
    private static (string Role, string? Type) RoleOf(Descriptor layer)
    {
        if (BuildMediaTypes.RecipeType(layer.MediaType) is { } typed)
        {
            return (RecipeRole, typed);
        }

        if (layer.MediaType == BuildMediaTypes.Context)
        {
            return (ContextRole, null);
        }

        var title = Annotation(layer, RecipeAnnotations.Title);
        var byTitle = title is null ? null : TypeByTitle(title);
        switch (Annotation(layer, RecipeAnnotations.Role))
        {
            case ContextRole:
                return (ContextRole, null);
            case RecipeRole:
                return (RecipeRole, byTitle ?? RecipeTypes.Dockerfile);
            case { } other:
                throw Invalid(
                    $"the layer '{Name(layer)}' has the role '{other}'; it must be {RecipeRole} or {ContextRole}"
                );
        }

        var isDirectory = Annotation(layer, RecipeAnnotations.OrasUnpack) == "true";
        if (byTitle is not null && !isDirectory)
        {
            return (RecipeRole, byTitle);
        }

        return BuildMediaTypes.IsContext(layer.MediaType)
            ? (ContextRole, null)
            : throw Invalid($"the layer '{Name(layer)}' of type {layer.MediaType} is neither a recipe nor a context");
    }

    private static string? TypeByTitle(string title)
    {
        var name = title[(title.LastIndexOf('/') + 1)..];
        return name switch
        {
            "Dockerfile" or "Containerfile" => RecipeTypes.Dockerfile,
            "Singularity" or "Apptainer" => RecipeTypes.Singularity,
            _ => Path.GetExtension(name).ToLowerInvariant() switch
            {
                ".dockerfile" or ".containerfile" => RecipeTypes.Dockerfile,
                ".def" => RecipeTypes.Singularity,
                _ => null,
            },
        };
    }

    private static int Strip(Descriptor layer)
    {
        if (Annotation(layer, RecipeAnnotations.ContextStrip) is { } text)
        {
            return
                int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var strip) && strip <= MaxStrip
                ? strip
                : throw Invalid(
                    $"{RecipeAnnotations.ContextStrip} is '{text}'; it must be a number from 0 to {MaxStrip}"
                );
        }

        // oras puts the directory's name, as it was written, before every path.
        return Annotation(layer, RecipeAnnotations.OrasUnpack) == "true"
            ? (Annotation(layer, RecipeAnnotations.Title) ?? "")
                .Split('/', StringSplitOptions.RemoveEmptyEntries)
                .Count(part => part != ".")
            : 0;
    }

    private static string Name(Descriptor layer) =>
        Annotation(layer, RecipeAnnotations.Title) ?? layer.Digest.ToString();

    private static string? Annotation(Descriptor layer, string key) =>
        layer.Annotations is { } annotations && annotations.TryGetValue(key, out var value) ? value : null;

    private static OciException Invalid(string message) => new(BuildErrors.RecipeInvalid, message);
}
