using System.Globalization;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Inspect;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;

namespace Kiln.Server.Builds.Publish;

/// <summary>
/// The index that a job's tags point at: always an index, so that a tag keeps its shape; the generic image first, so
/// that clients that know nothing of micro-architectures take it. The same products give the same bytes.
/// </summary>
internal sealed record ProductIndex(byte[] Content, IReadOnlyList<JobResultOutput> Outputs)
{
    /// <param name="tasks">Those of one job, all succeeded.</param>
    public static ProductIndex Of(IEnumerable<TaskRow> tasks)
    {
        var products = tasks
            .Select(Product)
            .OrderBy(p => p.Descriptor.Platform!.Variant is null ? 0 : 1)
            .ThenBy(p => p.Task.Ordinal)
            .ToList();
        var index = new ImageIndex { Manifests = [.. products.Select(p => p.Descriptor)] };
        return new ProductIndex(
            JsonSerializer.SerializeToUtf8Bytes(index, OciJson.Default.ImageIndex),
            [.. products.Select(p => p.Output)]
        );
    }

    private static (TaskRow Task, Descriptor Descriptor, JobResultOutput Output) Product(TaskRow task)
    {
        var execution = task.Execution;
        var manifest = JsonSerializer.Deserialize(execution.Manifest!, BuildJson.Default.Descriptor)!;
        var hints = execution.Hints is null
            ? null
            : JsonSerializer.Deserialize(execution.Hints, BuildJson.Default.ImageHints);
        var descriptor = manifest with
        {
            Platform = Platform.Parse(execution.Platform),
            Annotations = hints is null ? null : Annotations(hints),
        };
        var evidence = execution.Evidence is null
            ? null
            : JsonSerializer.Deserialize(execution.Evidence, BuildJson.Default.BuildEvidence);
        var output = new JobResultOutput
        {
            Platform = execution.Platform,
            Format = execution.Format,
            Manifest = manifest,
            UnpackedBytes = hints?.UncompressedBytes,
            Files = hints?.Files,
            Provenance = evidence?.Provenance,
            Log = evidence?.Log,
        };
        return (task, descriptor, output);
    }

    // Derived hints stand on the index descriptor; nothing re-serialises the manifest itself (build-extension, decision 4).
    private static SortedDictionary<string, string> Annotations(ImageHints hints) =>
        new(StringComparer.Ordinal)
        {
            [HintAnnotations.FlattenOwnership] = hints.FlattenOwnership,
            [HintAnnotations.FlattenMode] = hints.FlattenMode,
            [HintAnnotations.Ids] = FlattenVerdict.Evidence(
                hints.Owners.Count,
                hints.Groups.Count,
                hints.SetIdFiles,
                hints.CapabilityFiles
            ),
            [HintAnnotations.UnpackedBytes] = hints.UncompressedBytes.ToString(CultureInfo.InvariantCulture),
            [HintAnnotations.UnpackedFiles] = hints.Files.ToString(CultureInfo.InvariantCulture),
        };
}
