using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Products;
using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Queue;

namespace Kiln.Server.Builds.Publish;

/// <summary>What a job delivers: its index, each image that is in it, and what was made of these.</summary>
internal sealed record JobProduct(byte[] Index, IReadOnlyList<JobResultOutput> Outputs)
{
    /// <param name="tasks">All that the job has not left; a target of which one did not succeed delivers nothing.</param>
    public static JobProduct Of(JobRow job, IReadOnlyList<TaskRow> tasks)
    {
        var done = TargetStates.Succeeded(tasks);
        var flattens = job.DerivationPlan?.Flatten is true;
        var products = ProductIndex
            .InOrder(
                done.Where(t => t.Execution.Format == (flattens ? OutputFormats.SingleId : OutputFormats.Oci)),
                task => Platform.Parse(task.Execution.Platform),
                task => task.Microarchitecture,
                task => task.Ordinal
            )
            .Select(t => Product(t, tasks))
            .ToList();
        var alone = tasks.Count(t => t.Source is null) == 1;
        var made = done.Where(t => t.Source is not null && t.Execution.Format != OutputFormats.SingleId)
            .Select(t => Product(t, tasks).Output with { Tags = TagsOf(job, t, alone) });
        return new JobProduct(
            ProductIndex.Of(products.Select(p => p.Entry)),
            [.. products.Select(p => p.Output), .. made]
        );
    }

    private static IReadOnlyList<string>? TagsOf(JobRow job, TaskRow task, bool alone)
    {
        var output = job.DerivationPlan!.Outputs.First(o => o.Format == task.Execution.Format);
        var target = new BuildTarget
        {
            Platform = Platform.Parse(task.Execution.Platform),
            Microarchitecture = task.Microarchitecture,
        };
        var tags = JsonSerializer.Deserialize(job.Tags, BuildJson.Default.IReadOnlyListString)!;
        return tags.Count == 0 ? null : [.. tags.Select(tag => SideTags.Of(tag, output, target, alone))];
    }

    // What is made of an image is as the image is.
    private static bool IsEmulated(TaskRow task, IReadOnlyList<TaskRow> all) =>
        task.Execution.Emulated
        || (task.Source is { } source && all.Any(t => t.Ordinal == source && IsEmulated(t, all)));

    private static (ProductEntry Entry, JobResultOutput Output) Product(TaskRow task, IReadOnlyList<TaskRow> all)
    {
        var execution = task.Execution;
        var emulated = IsEmulated(task, all);
        var manifest = JsonSerializer.Deserialize(execution.Manifest!, BuildJson.Default.Descriptor)!;
        var hints = execution.Hints is null
            ? null
            : JsonSerializer.Deserialize(execution.Hints, BuildJson.Default.ImageHints);
        var evidence = execution.Evidence is null
            ? null
            : JsonSerializer.Deserialize(execution.Evidence, BuildJson.Default.BuildEvidence);
        var flattening = execution.Flattening is null
            ? null
            : JsonSerializer.Deserialize(execution.Flattening, BuildJson.Default.FlattenReport);
        var output = new JobResultOutput
        {
            Platform = execution.Platform,
            // Flattened or not, it is the image that stands in the index.
            Format = execution.Format == OutputFormats.SingleId ? OutputFormats.Oci : execution.Format,
            Manifest = manifest,
            Emulated = emulated ? true : null,
            UnpackedBytes = hints?.UncompressedBytes,
            Files = hints?.Files,
            Flattening = flattening,
            Provenance = evidence?.Provenance,
            Log = evidence?.Log,
            Hints = evidence?.Hints,
        };
        var entry = new ProductEntry(
            manifest,
            Platform.Parse(execution.Platform),
            task.Microarchitecture,
            hints,
            emulated
        )
        {
            Flattening = flattening,
        };
        return (entry, output);
    }
}
