using Kiln.Oci;

namespace Kiln.BuildSpec.Recipes;

/// <summary>
/// What is to be made of each image of a job once it is finished (build-extension, section 18), as executions of their own.
/// </summary>
public sealed record DerivationPlan
{
    // What a task's maker does not say of itself: raise it where the same image gives other bytes than before.
    private const string MakerVersion = "1";

    /// <summary>Whether the image is flattened first: all else is then made of what comes of that.</summary>
    public bool Flatten { get; init; }

    /// <summary>As asked for, <c>oci</c> included where it is said.</summary>
    public required IReadOnlyList<BuildOutput> Outputs { get; init; }

    /// <summary>False where no other job may share what is made.</summary>
    public bool Shareable { get; init; }

    /// <summary>False where only nodes of the requester's own make it: then it waits with nobody else's.</summary>
    public bool MayWaitWithOthers { get; init; } = true;

    /// <summary>Seconds that each may wait for a node.</summary>
    public required int QueueSeconds { get; init; }

    /// <summary>What a complete request asks for; null where that is the image and no more.</summary>
    public static DerivationPlan? Of(JobRequest full, BuildOffer offer, bool shareable) =>
        full.Flatten is not true && !full.Outputs!.Any(o => OutputFormats.IsDerived(o.Format))
            ? null
            : new DerivationPlan
            {
                Flatten = full.Flatten is true,
                Outputs = full.Outputs!,
                Shareable = shareable,
                QueueSeconds = full.QueueSeconds!.Value,
                MayWaitWithOthers = full.Outputs!.Select(o => o.Format)
                    .Concat(full.Flatten is true ? [OutputFormats.SingleId] : [])
                    .All(format => offer.SharedOutputs.Contains(format, StringComparer.Ordinal)),
            };

    /// <summary>What is made of the product of a task.</summary>
    /// <param name="format">Of that task.</param>
    public IReadOnlyList<(string Format, string Compression)> After(string format) =>
        format switch
        {
            OutputFormats.Oci when Flatten => [(OutputFormats.SingleId, CompressionOf(OutputFormats.Oci))],
            OutputFormats.Oci or OutputFormats.SingleId =>
            [
                .. Outputs
                    .Where(o => OutputFormats.IsDerived(o.Format))
                    .Select(o => (o.Format, CompressionOf(o.Format))),
            ],
            _ => [],
        };

    /// <summary>The task that makes it.</summary>
    /// <param name="of">The task that has made the image.</param>
    /// <param name="image">The image's manifest, with its bytes in <see cref="Descriptor.Data"/>.</param>
    public static LeaseTask TaskOf(LeaseTask of, Descriptor image, string format, string compression) =>
        new()
        {
            Platform = of.Platform,
            Format = format,
            Compression = compression,
            RecipeType = RecipeTypes.Image,
            Recipe = image,
            Network = NetworkModes.None,
            TimeoutSeconds = of.TimeoutSeconds,
            Backend = of.Backend,
        };

    /// <summary>
    /// Its key: the image, the format and the compression; who asked and how the image came to be, make no difference.
    /// </summary>
    public static BuildKey KeyOf(LeaseTask task) =>
        new()
        {
            BuildType = task.RecipeType,
            Recipe = task.Recipe.Digest,
            Platform = task.Platform,
            Format = task.Format,
            Options = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["compression"] = task.Compression!,
                ["maker"] = MakerVersion,
            },
        };

    private string CompressionOf(string format) =>
        OutputFormats.CompressionOf(format, Outputs.FirstOrDefault(o => o.Format == format)?.Compression);
}
