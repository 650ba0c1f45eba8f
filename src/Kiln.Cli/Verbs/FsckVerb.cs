using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using Kiln.Server;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln fsck</c>: holds what a server keeps against itself, mends it, makes its database anew.</summary>
internal static class FsckVerb
{
    public static Command Create(Shell shell)
    {
        var quick = new Option<bool>("--quick") { Description = "Compare blobs' sizes only, not their digests." };
        var repair = new Option<bool>("--repair")
        {
            Description = "Mend what can be mended; damaged bytes are moved aside.",
        };
        var rebuild = new Option<bool>("--rebuild")
        {
            Description = "Make a new database from the blobs and the journal, then check; the old one is moved aside.",
        };
        var json = new Option<bool>("--json") { Description = "Findings and the summary as lines of JSON." };
        var command = new Command(
            "fsck",
            "Check what a stopped server keeps: blobs, manifests, tags, uploads, the journal. "
                + "Ends with 0 when nothing is wrong any more, with 1 when something is."
        )
        {
            quick,
            repair,
            rebuild,
            json,
        };
        var settings = ServerSettings.On(command, shell, IsAboutState);
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    () =>
                        RunAsync(
                            settings.Require(parsed),
                            new CheckOptions { Quick = parsed.GetValue(quick), Repair = parsed.GetValue(repair) },
                            parsed.GetValue(rebuild),
                            parsed.GetValue(json),
                            shell,
                            cancel
                        )
                )
        );
        return command;
    }

    // Where things are, and what counts as wrong; the rest is the server's business.
    private static bool IsAboutState(string flag) =>
        flag is "--data" or "--database" or "--database-password-file" or "--sparse-manifests"
        || flag.StartsWith("--storage", StringComparison.Ordinal)
        || flag.StartsWith("--s3", StringComparison.Ordinal);

    private static async Task<int> RunAsync(
        ServerOptions options,
        CheckOptions check,
        bool rebuild,
        bool json,
        Shell shell,
        CancellationToken cancel
    )
    {
        try
        {
            var lost = 0;
            if (rebuild)
            {
                var made = await StateCheck.RebuildAsync(options, cancel);
                lost = made.Lost.Count;
                Write(shell, json, made);
            }

            var summary = await StateCheck.RunAsync(options, check, finding => Write(shell, json, finding), cancel);
            Write(shell, json, summary);
            return summary.Left > 0 || lost > 0 ? ExitCodes.RecipeFailed : ExitCodes.Ok;
        }
        catch (ServerStartException e)
        {
            throw CommandFailure.NotPossible(e.Message);
        }
    }

    private static void Write(Shell shell, bool json, RebuildSummary made)
    {
        if (json)
        {
            Json(shell, new FsckLine { Rebuild = made });
            return;
        }

        foreach (var sentence in made.Faults.Select(f => $"journal: {f}").Concat(made.Lost.Select(l => $"lost: {l}")))
        {
            shell.Out.WriteLine(TerminalText.Escape(sentence));
        }

        shell.Out.WriteLine(
            $"made anew: {made.Repositories} repositories, {made.Manifests} manifests, {made.Tags} tags"
                + (made.Aside is null ? "" : $"; the old database is {made.Aside}")
                + (made.JournalAside is null ? "" : $"; the journal it was made of is {made.JournalAside}")
        );
    }

    private static void Write(Shell shell, bool json, CheckFinding finding)
    {
        if (json)
        {
            Json(shell, new FsckLine { Finding = finding });
            return;
        }

        var state =
            finding.IsNote ? "note"
            : finding.IsMended ? "mended"
            : "WRONG";
        var remedy =
            finding.IsMended || finding.IsNote ? finding.Remedy
            : finding.CanBeMended ? $"with --repair {finding.Remedy}"
            : finding.Remedy;
        shell.Out.WriteLine(
            TerminalText.Escape($"{state}: {finding.Kind} {finding.Subject}\n  {finding.Meaning}\n  {remedy}")
        );
    }

    private static void Write(Shell shell, bool json, CheckSummary summary)
    {
        if (json)
        {
            Json(shell, new FsckLine { Summary = summary });
            return;
        }

        shell.Out.WriteLine(
            $"{summary.Blobs} blobs ({Sizes.Text(summary.Bytes)}), {summary.Manifests} manifests, {summary.Tags} tags: "
                + (
                    summary is { Left: 0, Mended: 0 }
                        ? "nothing is wrong"
                        : $"{summary.Mended} mended, {summary.Left} wrong"
                )
                + (summary.Notes > 0 ? $", {summary.Notes} notes" : "")
        );
    }

    private static void Json(Shell shell, FsckLine line) =>
        shell.Out.WriteLine(JsonSerializer.Serialize(line, FsckJson.Default.FsckLine));
}

/// <summary>A line of <c>kiln fsck --json</c>: one of its members.</summary>
internal sealed record FsckLine
{
    public CheckFinding? Finding { get; init; }
    public RebuildSummary? Rebuild { get; init; }
    public CheckSummary? Summary { get; init; }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull
)]
[JsonSerializable(typeof(FsckLine))]
internal sealed partial class FsckJson : JsonSerializerContext;
