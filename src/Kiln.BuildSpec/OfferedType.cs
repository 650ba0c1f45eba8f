namespace Kiln.BuildSpec;

/// <summary>
/// One kind of machine that a node starts builds on. What is absent is as the claim says it; a list that is there stands in
/// place of the claim's, also an empty one.
/// </summary>
public sealed record OfferedType
{
    public IReadOnlyList<string>? Platforms { get; init; }

    /// <inheritdoc cref="LeaseClaim.EmulatedPlatforms"/>
    public IReadOnlyList<string>? EmulatedPlatforms { get; init; }

    /// <inheritdoc cref="LeaseClaim.Microarchitectures"/>
    public IReadOnlyList<string>? Microarchitectures { get; init; }

    /// <inheritdoc cref="RecipeTypes"/>
    public IReadOnlyList<string>? Recipes { get; init; }
    public IReadOnlyList<string>? Outputs { get; init; }

    /// <inheritdoc cref="NetworkModes"/>
    public IReadOnlyList<string>? Networks { get; init; }
    public BuildResources? Resources { get; init; }

    /// <summary>
    /// The words of a request's <c>backend</c> that are honoured, each with its values, or <c>*</c> for any. A build that
    /// says another does not fit.
    /// </summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>>? Backend { get; init; }

    /// <summary>Any value of a word of <see cref="Backend"/>.</summary>
    public const string Any = "*";

    /// <summary>The same with what the claim says for all types.</summary>
    public OfferedType Of(LeaseClaim claim) =>
        this with
        {
            Platforms = Platforms ?? claim.Platforms,
            EmulatedPlatforms = EmulatedPlatforms ?? claim.EmulatedPlatforms,
            Microarchitectures = Microarchitectures ?? claim.Microarchitectures,
            Recipes = Recipes ?? claim.Recipes,
            Outputs = Outputs ?? claim.Outputs,
            Networks = Networks ?? claim.Networks,
            Resources = Resources ?? claim.Resources,
        };

    /// <summary>The first word of a request's <c>backend</c> that is not honoured; null where all are.</summary>
    public (string Name, string Value)? Unheard(IReadOnlyDictionary<string, string>? asked)
    {
        foreach (var (name, value) in asked ?? new Dictionary<string, string>())
        {
            if (
                Backend?.TryGetValue(name, out var values) is not true
                || !(values.Contains(Any, StringComparer.Ordinal) || values.Contains(value, StringComparer.Ordinal))
            )
            {
                return (name, value);
            }
        }

        return null;
    }
}
