namespace Kiln.BuildSpec.Recipes;

/// <summary>
/// The tags at which what was made of an image is delivered: <c>1.0-sif</c>, and <c>1.0-sif-arm64</c> where a job has several
/// targets (build-extension, F-4).
/// </summary>
public static class SideTags
{
    /// <param name="tag">One of the job's.</param>
    /// <param name="target">For what the image was built, normalized.</param>
    /// <param name="alone">Whether the job has this target only.</param>
    public static string Of(string tag, BuildOutput output, BuildTarget target, bool alone) =>
        tag + (output.TagSuffix ?? "-" + output.Format) + (alone ? "" : "-" + Name(target));

    /// <summary>All side tags of a complete request.</summary>
    public static IEnumerable<string> All(JobRequest request) =>
        from output in request.Outputs!
        where OutputFormats.IsDerived(output.Format)
        from target in request.Targets!
        from tag in request.Tags!.Distinct(StringComparer.Ordinal)
        select Of(tag, output, target, request.Targets!.Count == 1);

    // arm64, amd64-v3, amd64-zen3
    private static string Name(BuildTarget target)
    {
        var platform = target.Platform;
        var finer = BuildTargets.Finer(platform, target.Microarchitecture) ?? platform.Variant;
        return (platform.Os == "linux" ? "" : platform.Os + "-")
            + platform.Architecture
            + (finer is null ? "" : "-" + finer);
    }
}
