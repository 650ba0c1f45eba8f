using Kiln.BuildSpec;
using Kiln.Cli.Progress;

namespace Kiln.Cli.Verbs;

/// <summary>A job in words.</summary>
internal static class JobText
{
    public static string Of(Job job)
    {
        using var text = new StringWriter();
        Columns.Write(text, [.. Rows(job)]);
        foreach (var task in job.Tasks)
        {
            text.WriteLine();
            Columns.Write(text, [.. Rows(task)]);
            foreach (var step in task.Steps ?? [])
            {
                text.WriteLine($"  {StepTracker.Text(step)}");
            }
        }

        return text.ToString();
    }

    private static IEnumerable<string[]> Rows(Job job)
    {
        yield return ["job", $"{job.Repository} {job.Id}"];
        yield return ["state", job.Cached ? $"{job.State} (answered from an earlier build)" : job.State];
        if (job.Reason is not null)
        {
            yield return ["reason", job.Reason];
        }

        foreach (var line in job.Message?.TrimEnd().Split('\n') ?? [])
        {
            yield return ["message", line];
        }

        yield return ["created", $"{job.Created:u} by {job.CreatedBy} ({job.Trigger})"];
        if (job.Started is { } started)
        {
            yield return ["started", $"{started:u}"];
        }

        if (job.Finished is { } finished)
        {
            yield return ["finished", $"{finished:u}, {Sizes.Text(finished - (job.Started ?? job.Created))} later"];
        }

        yield return ["recipe", $"{job.Recipe.Digest} ({job.Recipe.Type})"];
        yield return ["tags", string.Join(", ", job.Tags)];
        if (job.Result is { } result)
        {
            yield return ["digest", result.Manifest.Digest.ToString()];
            foreach (var output in result.Outputs)
            {
                yield return
                [
                    $"{output.Platform} {output.Format}",
                    output.Tags is { Count: > 0 } at
                        ? $"{output.Manifest.Digest} at {string.Join(", ", at)}"
                        : output.Manifest.Digest.ToString(),
                ];
                if (output.Flattening is { } flattening)
                {
                    yield return ["  flattened", Text(flattening)];
                }

                foreach (var provenance in output.Provenance ?? [])
                {
                    yield return ["  how it was made", $"{provenance.Digest} ({provenance.ArtifactType})"];
                }

                if (output.Log is { } log)
                {
                    yield return ["  its log", log.Digest.ToString()];
                }

                if (output.Hints is { } hints)
                {
                    yield return ["  what it is good for", hints.Digest.ToString()];
                }
            }
        }
    }

    private static string Text(FlattenReport changed) =>
        $"{changed.Entries} entries changed: {changed.Owners} of other owners, {changed.SetIds} with set-id bits, "
        + $"{changed.Capabilities} with capabilities, {changed.Modes} not readable by their owner; "
        + $"{changed.LayersChanged} layers are others now, {changed.LayersKept} the same";

    private static IEnumerable<string[]> Rows(JobTask task)
    {
        var phase = task.Phase is null ? "" : $", {task.Phase}";
        var progress = task.Progress is null ? "" : $": {task.Progress}";
        yield return
        [
            "task",
            $"{task.Id} {task.Platform} {task.Format}{(task.Emulated is true ? " (emulated)" : "")}: {task.State}{phase}{progress}",
        ];
        if (task.Source is { } source)
        {
            yield return ["made of", $"the image of {source}"];
        }

        yield return ["key", task.Key];
        yield return ["execution", $"{task.Execution}{(task.Shared ? " (shared with another job)" : "")}"];
        yield return ["attempt", $"{task.Attempt}{(task.Node is null ? "" : $" on {task.Node}")}"];
        if (task.QueuePosition is { } position)
        {
            yield return ["queue", $"{position} before it"];
        }

        if (task.ExitCode is { } exitCode)
        {
            yield return ["exit code", $"{exitCode}"];
        }

        foreach (var row in Rows(task.Confinement).Concat(Rows(task.Hints)))
        {
            yield return row;
        }

        foreach (var dependency in task.ResolvedDependencies ?? [])
        {
            yield return ["built from", $"{dependency.Uri} {dependency.Digest}"];
        }
    }

    private static IEnumerable<string[]> Rows(BuildConfinement? confinement)
    {
        if (confinement is null)
        {
            yield break;
        }

        yield return
        [
            "confinement",
            $"isolation {confinement.Isolation}, root {confinement.Root}, network {confinement.Network}, "
                + $"limits {confinement.Limits}{(confinement.Engine is null ? "" : $", {confinement.Engine}")}"
                + (confinement.Emulation is null ? "" : $", emulated by {confinement.Emulation}"),
        ];
        yield return
        [
            "limits",
            string.Join(
                ", ",
                new[]
                {
                    confinement.MemoryBytes is { } memory ? $"memory {Sizes.Text(memory)}" : null,
                    confinement.DiskBytes is { } disk ? $"disk {Sizes.Text(disk)}" : null,
                    confinement.Processes is { } processes ? $"{processes} processes" : null,
                    confinement.TimeoutSeconds is { } seconds ? $"{Sizes.Text(TimeSpan.FromSeconds(seconds))}" : null,
                }.OfType<string>()
            ),
        ];
    }

    private static IEnumerable<string[]> Rows(ImageHints? hints)
    {
        if (hints is null)
        {
            yield break;
        }

        yield return ["flatten ownership", hints.FlattenOwnership];
        yield return ["flatten mode", hints.FlattenMode];
        yield return
        [
            "measured",
            $"{hints.Owners.Count} owners, {hints.Groups.Count} groups, {hints.SetIdFiles} set-id files, "
                + $"{hints.CapabilityFiles} with capabilities, {hints.Files} files, {Sizes.Text(hints.UncompressedBytes)}",
        ];
        foreach (var reason in hints.Reasons ?? [])
        {
            yield return ["because", reason];
        }

        (string Name, IReadOnlyList<string>? Values)[] found =
        [
            ("processor", hints.CpuTarget is { } target ? [target] : null),
            ("glibc", hints.Glibc is { } glibc ? [glibc] : null),
            ("mpi", hints.Mpi),
            ("gpu", hints.Gpu),
            ("communication", hints.Communication),
        ];
        foreach (var (name, values) in found)
        {
            if (values is not null)
            {
                yield return [name, string.Join(", ", values)];
            }
        }
    }
}
