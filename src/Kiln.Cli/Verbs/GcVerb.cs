using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Kiln.Client.Administration;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln gc</c>: garbage collection at a running registry, or what it would do.</summary>
internal static class GcVerb
{
    public static Command Create(Shell shell)
    {
        var (registry, insecure) = (TokenVerb.RegistryOption(shell), Connection.InsecureOption());
        var dryRun = new Option<bool>("--dry-run")
        {
            Description = "Say what would be deleted and why; delete nothing.",
        };
        var waiting = new Option<bool>("--waiting")
        {
            Description = "Also list what waits for its time, and what a rule keeps.",
        };
        var json = new Option<bool>("--json")
        {
            Description = "A line of JSON for each thing, as the registry sends it.",
        };
        var command = new Command("gc", "Delete what nothing refers to any more, at a running registry.")
        {
            dryRun,
            waiting,
            json,
            registry,
            insecure,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var lines = new AdminClient(connection.Registry).CollectAsync(
                            parsed.GetRequiredValue(registry),
                            parsed.GetValue(dryRun),
                            cancel
                        );
                        return await ShowAsync(shell, lines, parsed.GetValue(waiting), parsed.GetValue(json));
                    }
                )
        );
        return command;
    }

    private static async Task<int> ShowAsync(
        Shell shell,
        IAsyncEnumerable<CollectionLine> lines,
        bool waiting,
        bool json
    )
    {
        CollectionLine? last = null;
        await foreach (var line in lines)
        {
            last = line;
            if (json)
            {
                await shell.Out.WriteLineAsync(JsonSerializer.Serialize(line, AdminJson.Default.CollectionLine));
            }
            else if (
                line.Item is { } item
                && (waiting || item.Action is not (CollectionActions.Wait or CollectionActions.Keep))
            )
            {
                await shell.Out.WriteLineAsync(Text(item));
            }
        }

        if (last?.Summary is not { } summary)
        {
            await shell.Error.WriteLineAsync(
                $"kiln: the collection broke off: {TerminalText.Escape(last?.Error ?? "the connection ended")}"
            );
            return ExitCodes.NotPossible;
        }

        if (!json)
        {
            await shell.Out.WriteLineAsync(Text(summary));
        }

        return summary.Counts.Any(c => c.Action == CollectionActions.Failed) ? ExitCodes.NotPossible : ExitCodes.Ok;
    }

    private static string Text(CollectionItem item)
    {
        var name =
            item.Repository is { } repository && repository != item.Reference
                ? $"{repository}{(item.Reference.Contains(':', StringComparison.Ordinal) ? "@" : ":")}{item.Reference}"
                : item.Reference;
        var size = item.Bytes is { } bytes ? $" ({Sizes.Text(bytes)})" : "";
        var due = item.Due is { } when
            ? $"; until {when.ToString("yyyy-MM-dd HH:mm'Z'", CultureInfo.InvariantCulture)}"
            : "";
        return TerminalText.Escape($"{item.Action} {item.Kind} {name}{size}: {item.Reason}{due}");
    }

    private static string Text(CollectionSummary summary)
    {
        var gone = summary
            .Counts.Where(c => c.Action is CollectionActions.Deleted or CollectionActions.Delete)
            .ToList();
        var waits = summary.Counts.Where(c => c.Action == CollectionActions.Wait).ToList();
        var freed = gone.Where(c => c.Kind == CollectionKinds.Blob).Sum(c => c.Bytes);
        var word = summary.DryRun ? "would be deleted" : "deleted";
        var head = gone.Count == 0 ? $"nothing {word}" : $"{word}: {List(gone)}; {Sizes.Text(freed)} on the disk";
        var failed = summary.Counts.Where(c => c.Action == CollectionActions.Failed).ToList();
        return head
            + (waits.Count == 0 ? "" : $". Waiting: {List(waits)}")
            + (failed.Count == 0 ? "" : $". Could not be deleted: {List(failed)}");
    }

    private static string List(List<CollectionCount> counts) =>
        string.Join(
            ", ",
            counts.Select(c => $"{c.Count.ToString(CultureInfo.InvariantCulture)} {c.Kind}{(c.Count == 1 ? "" : "s")}")
        );
}
