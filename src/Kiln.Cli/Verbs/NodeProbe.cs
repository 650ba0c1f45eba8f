using System.Globalization;
using System.Text.Json;
using Kiln.Node;
using Kiln.Node.Machine;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln node --probe</c>: says what this machine is and could build, and ends.</summary>
internal static class NodeProbe
{
    public static async Task<int> RunAsync(NodeOptions options, bool json, Shell shell, CancellationToken cancel)
    {
        // A node may be at work in its own directory; the trial has one of its own.
        var scratch = Directory.CreateTempSubdirectory("kiln-probe-");
        try
        {
            var report = await NodeReport.MakeAsync(
                options with
                {
                    Directory = scratch.FullName,
                    // It leaves nothing anywhere.
                    OtherDisk = null,
                },
                shell.Time,
                cancel
            );
            if (json)
            {
                await shell.Out.WriteLineAsync(JsonSerializer.Serialize(report, ReportJson.Default.NodeReport));
            }
            else
            {
                Print(report, shell.Out);
            }

            return report.Unavailable is null ? ExitCodes.Ok : ExitCodes.NotPossible;
        }
        finally
        {
            scratch.Delete(recursive: true);
        }
    }

    /// <summary>For people.</summary>
    public static void Print(NodeReport report, TextWriter writer)
    {
        var machine = report.Machine;
        var limits = machine.Limits;
        Columns.Write(
            writer,
            [
                ["platform", machine.Platform],
                ["micro-architecture", machine.Microarchitecture ?? "unknown"],
                ["processor", $"{machine.Processor ?? "unknown"}, {machine.Cpus} to use"],
                ["memory", machine.MemoryBytes is { } bytes ? Sizes.Text(bytes) : "unknown"],
                ["GPUs", machine.Gpus.Count == 0 ? "none" : string.Join("; ", machine.Gpus.Select(MachineLabels.Gpu))],
                ["kernel", machine.Kernel ?? "unknown"],
                ["glibc", machine.Glibc ?? "none"],
                ["user namespaces", MachineLabels.Namespaces(limits)],
                [
                    "subordinate ids",
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{limits.SubordinateUids} user ids, {limits.SubordinateGids} group ids"
                    ),
                ],
                ["overlay in user namespaces", MachineLabels.YesNo(limits.OverlayInUserNamespaces)],
                ["/dev/fuse", MachineLabels.YesNo(limits.Fuse)],
                ["seccomp", MachineLabels.YesNo(limits.Seccomp)],
                ["emulators", machine.Emulators.Count == 0 ? "none" : string.Join(", ", machine.Emulators)],
                ["emulators in user namespaces", MachineLabels.YesNo(limits.EmulatorsInUserNamespaces)],
                ["control groups of version 2", MachineLabels.YesNo(limits.UnifiedControlGroups)],
                ["programs", report.Programs.Count == 0 ? "none" : string.Join(", ", report.Programs)],
                .. Builds(report),
            ]
        );
        foreach (var need in report.Missing)
        {
            writer.WriteLine();
            writer.WriteLine($"missing: {TerminalText.Escape(need.Missing)}");
            writer.WriteLine($"  without: {need.Effect}");
            writer.WriteLine($"  do: {TerminalText.Escape(need.Remedy)}");
        }
    }

    private static IEnumerable<string[]> Builds(NodeReport report)
    {
        if (report.Offer is not { } offer)
        {
            return
            [
                ["builds", $"nothing: {report.Unavailable}"],
            ];
        }

        return
        [
            ["builds", string.Join(", ", offer.Platforms)],
            .. offer.EmulatedPlatforms is { } emulated
                ? new[] { new[] { "by emulation", string.Join(", ", emulated) } }
                : [],
            .. offer.Microarchitectures is { } micros
                ? new[] { new[] { "builds for", string.Join(", ", micros) } }
                : [],
            ["builds are root by", RootText.Of(offer.Roots ?? [])],
            ["recipes", string.Join(", ", offer.Recipes)],
            ["formats", string.Join(", ", offer.Outputs)],
            ["networks", string.Join(", ", offer.Networks ?? [])],
        ];
    }
}
