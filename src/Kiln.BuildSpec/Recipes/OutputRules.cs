using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>What is wrong with the outputs that a request asks for; each rule gives its sentence, or null.</summary>
internal static class OutputRules
{
    private const int MaxSuffix = 32;

    /// <summary>A format that nobody makes, or a compression that it does not have; in the second place what there is.</summary>
    public static (string Sentence, IReadOnlyList<string> Supported)? Unsupported(JobRequest request, BuildOffer offer)
    {
        foreach (var output in request.Outputs!)
        {
            if (
                output.Format == OutputFormats.SingleId
                || !offer.Outputs.Contains(output.Format, StringComparer.Ordinal)
            )
            {
                var tool = OutputFormats.Tool(output.Format);
                var why =
                    OutputFormats.Compressions(output.Format).Count == 0 || output.Format == OutputFormats.SingleId
                        ? $"'{output.Format}' is not an output format"
                    : tool is null ? $"no build node here makes the output '{output.Format}'"
                    : $"no build node here makes the output '{output.Format}': it takes one with {tool}";
                return (why, [.. offer.Outputs.Where(f => f != OutputFormats.SingleId)]);
            }

            var compressions = OutputFormats.Compressions(output.Format);
            if (output.Compression is { } asked && !compressions.Contains(asked, StringComparer.Ordinal))
            {
                return ($"the output '{output.Format}' cannot be compressed with '{asked}'", compressions);
            }
        }

        return request.Flatten is true && !offer.Outputs.Contains(OutputFormats.SingleId, StringComparer.Ordinal)
            ? ("no build node here flattens images", offer.Outputs)
            : null;
    }

    /// <summary>Outputs that contradict each other, or whose tags cannot be.</summary>
    public static string? Contradiction(JobRequest request, IReadOnlyList<string> ownTags)
    {
        var outputs = request.Outputs!;
        if (outputs.FirstOrDefault(o => outputs.Count(other => other.Format == o.Format) > 1) is { } twice)
        {
            return $"the output '{twice.Format}' is asked for twice";
        }

        if (
            outputs.FirstOrDefault(o =>
                o.TagSuffix is { } suffix && (o.Format == OutputFormats.Oci || suffix.Length is 0 or > MaxSuffix)
            ) is
            { } odd
        )
        {
            return odd.Format == OutputFormats.Oci
                ? "the output 'oci' has the tags of the job; tagSuffix is for the others"
                : $"a tagSuffix has 1 to {MaxSuffix} characters";
        }

        var side = SideTags.All(request).ToList();
        return side.Find(t => !Tag.TryParse(t, out _)) is { } bad
                ? $"'{bad}', where an output would be delivered, is not a tag; use a shorter tag or another tagSuffix"
            : side.Concat(request.Tags!).GroupBy(t => t, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1)
                is { } both
                ? $"two of the outputs would be delivered at the tag '{both.Key}'; give one of them another tagSuffix"
            : side.Find(t => ownTags.Contains(t, StringComparer.Ordinal)) is { } own
                ? $"the tag '{own}', where an output would be delivered, is the recipe's own"
            : null;
    }
}
