using System.Text.Json;
using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>A recipe as a build needs it, wherever it came from.</summary>
public record RecipeContent
{
    /// <summary>The largest config blob that is read, in bytes.</summary>
    public const int MaxConfigBytes = 1 << 20;

    /// <summary>Digest of the recipe artifact's manifest.</summary>
    public required Digest Artifact { get; init; }

    /// <inheritdoc cref="RecipeTypes"/>
    public required string Type { get; init; }

    /// <summary>The recipe blob.</summary>
    public required Descriptor Blob { get; init; }
    public required string Text { get; init; }
    public required IReadOnlyList<LeaseContext> Contexts { get; init; }

    /// <summary>What the artifact's annotations and config ask for.</summary>
    public JobRequest Annotations { get; init; } = new();
    public JobRequest Config { get; init; } = new();

    /// <summary>Tags that point at the artifact: no product may take them.</summary>
    public IReadOnlyList<string> OwnTags { get; init; } = [];

    /// <summary>The tags that its own tag stands for, where it says nothing else: <c>1.0.recipe</c> delivers <c>1.0</c>.</summary>
    public IReadOnlyList<string> ImpliedTags { get; init; } = [];

    /// <summary>The tags that tags of a recipe stand for (build-extension, R-10).</summary>
    public static IReadOnlyList<string> Implied(IEnumerable<string> tags) =>
        [.. tags.Where(IsRecipeTag).Select(tag => tag[..^RecipeAnnotations.RecipeTagSuffix.Length])];

    /// <summary>What a config blob asks for.</summary>
    /// <exception cref="OciException"><c>BUILD_RECIPE_INVALID</c>.</exception>
    public static JobRequest ReadConfig(ReadOnlySpan<byte> json)
    {
        try
        {
            var request =
                JsonSerializer.Deserialize(json, BuildJson.Default.JobRequest) ?? throw new JsonException("it is null");
            return request.MemberWithNull() is { } member
                ? throw new JsonException($"{member} has an item that is null")
                : request;
        }
        catch (JsonException e)
        {
            throw new OciException(BuildErrors.RecipeInvalid, $"the recipe's config is not valid: {e.Message}");
        }
    }

    private static bool IsRecipeTag(string tag) =>
        tag.Length > RecipeAnnotations.RecipeTagSuffix.Length
        && tag.EndsWith(RecipeAnnotations.RecipeTagSuffix, StringComparison.Ordinal);
}
