using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;

namespace Kiln.Server.Builds.Publish;

/// <summary>What a job delivers: its index, and each image that is in it.</summary>
internal sealed record JobProduct(byte[] Index, IReadOnlyList<JobResultOutput> Outputs)
{
    /// <param name="tasks">Those of one job, all succeeded.</param>
    public static JobProduct Of(IEnumerable<TaskRow> tasks)
    {
        var products = ProductIndex
            .InOrder(
                tasks,
                task => Platform.Parse(task.Execution.Platform),
                task => task.Microarchitecture,
                task => task.Ordinal
            )
            .Select(Product)
            .ToList();
        return new JobProduct(ProductIndex.Of(products.Select(p => p.Entry)), [.. products.Select(p => p.Output)]);
    }

    private static (ProductEntry Entry, JobResultOutput Output) Product(TaskRow task)
    {
        var execution = task.Execution;
        var manifest = JsonSerializer.Deserialize(execution.Manifest!, BuildJson.Default.Descriptor)!;
        var hints = execution.Hints is null
            ? null
            : JsonSerializer.Deserialize(execution.Hints, BuildJson.Default.ImageHints);
        var evidence = execution.Evidence is null
            ? null
            : JsonSerializer.Deserialize(execution.Evidence, BuildJson.Default.BuildEvidence);
        var output = new JobResultOutput
        {
            Platform = execution.Platform,
            Format = execution.Format,
            Manifest = manifest,
            Emulated = execution.Emulated ? true : null,
            UnpackedBytes = hints?.UncompressedBytes,
            Files = hints?.Files,
            Provenance = evidence?.Provenance,
            Log = evidence?.Log,
            Hints = evidence?.Hints,
        };
        var entry = new ProductEntry(
            manifest,
            Platform.Parse(execution.Platform),
            task.Microarchitecture,
            hints,
            execution.Emulated
        );
        return (entry, output);
    }
}
