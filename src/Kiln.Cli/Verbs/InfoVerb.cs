using System.CommandLine;
using System.Text.Json;
using Kiln.BuildSpec;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln info</c>: what a registry builds.</summary>
internal static class InfoVerb
{
    public static Command Create(Shell shell)
    {
        var host = new Argument<string?>("host")
        {
            Description = $"The registry, HOST[:PORT]; ${References.DefaultRegistry} otherwise.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var json = new Option<bool>("--json") { Description = "The registry's answer as it is." };
        var insecure = Connection.InsecureOption();
        var command = new Command("info", "Show what a registry builds.") { host, json, insecure };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var name =
                            (parsed.GetValue(host) ?? shell.Variable(References.DefaultRegistry))?.TrimEnd('/')
                            ?? throw CommandFailure.Usage($"name a registry, or set {References.DefaultRegistry}");
                        RequireHost(name);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        await connection.Registry.PingAsync(name, cancel);
                        var info =
                            await connection.Builds.FindInfoAsync(name, null, cancel)
                            ?? throw CommandFailure.NotPossible(
                                $"{name} is a registry, but it does not build: it has no _build extension"
                            );
                        Print(info, parsed.GetValue(json), shell);
                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static void RequireHost(string name)
    {
        if (name.Contains('/', StringComparison.Ordinal) || !Uri.TryCreate($"https://{name}/", UriKind.Absolute, out _))
        {
            throw CommandFailure.Usage($"'{name}' is not a registry; write HOST or HOST:PORT, without http://");
        }
    }

    private static void Print(BuildInfo info, bool json, Shell shell)
    {
        if (json)
        {
            shell.Out.WriteLine(JsonSerializer.Serialize(info, BuildJson.Default.BuildInfo));
            return;
        }

        var limits = info.Limits;
        Columns.Write(
            shell.Out,
            [
                .. info.Behind is null ? [] : new string[][] { ["stands in front of", info.Behind] },
                [
                    "builds",
                    info.Platforms.Count == 0 ? $"nothing: {info.Unavailable}" : string.Join(", ", info.Platforms),
                ],
                .. info.EmulatedPlatforms is { Count: > 0 } emulated
                    ? new[] { new[] { "by emulation only", string.Join(", ", emulated) } }
                    : [],
                .. info.Microarchitectures is { Count: > 0 } micros
                    ? new[] { new[] { "micro-architectures", string.Join(", ", micros) } }
                    : [],
                ["recipes", string.Join(", ", info.Recipes.Select(r => r.Type))],
                ["delivers", string.Join(", ", info.Outputs) + (info.Flatten is true ? "; can flatten" : "")],
                ["engines", string.Join(", ", info.Engines)],
                .. info.Roots is { Count: > 0 } roots
                    ? new[] { new[] { "builds are root by", RootText.Of(roots) } }
                    : [],
                ["networks", string.Join(", ", info.Networks)],
                ["push starts a build", info.Trigger.OnPush],
                [
                    "tells how it built",
                    info.Provenance is null ? "no"
                    : info.Provenance.PublicKey is null ? "yes, unsigned"
                    : "yes, signed; the key: kiln info --json",
                ],
                ["context at most", Sizes.Text(limits.MaxContextBytes)],
                ["build at most", Sizes.Text(TimeSpan.FromSeconds(limits.MaxJobSeconds))],
                ["waits at most", Sizes.Text(TimeSpan.FromSeconds(limits.MaxQueueSeconds))],
                ["log at most", Sizes.Text(limits.MaxLogBytes)],
                ["a build may ask for", Resources(limits)],
                ["extension", info.SpecVersion],
                .. (info.Nodes ?? []).Select(node => new[] { $"node {node.Name}", Node(node) }),
            ]
        );
    }

    // What requests can ask for first, then what it says of itself.
    private static string Node(BuildInfoNode node) =>
        string.Join(
            "; ",
            new[]
            {
                string.Join(", ", node.Platforms.Concat(node.Microarchitectures?.Take(1) ?? [])),
                node.Types is { } types ? $"{types.Count} types of machines" : null,
                node.Resources is { } resources ? Resources(resources) : null,
                node.Engines is { } engines ? string.Join(", ", engines) : null,
                node.Labels is { } labels
                    ? string.Join(
                        ", ",
                        labels.OrderBy(l => l.Key, StringComparer.Ordinal).Select(l => $"{l.Key}={l.Value}")
                    )
                    : null,
            }.Where(part => part is { Length: > 0 })
        );

    private static string Resources(BuildResources resources) =>
        Resources(resources.Cpus, resources.MemoryBytes, resources.DiskBytes, resources.Gpus);

    private static string Resources(BuildInfoLimits limits)
    {
        var text = Resources(limits.MaxCpus, limits.MaxMemoryBytes, limits.MaxDiskBytes, limits.MaxGpus);
        return text.Length == 0 ? "nothing of its own" : $"at most {text}";
    }

    private static string Resources(int? cpus, long? memory, long? disk, int? gpus) =>
        string.Join(
            ", ",
            new[]
            {
                cpus is { } c ? $"{c} CPUs" : null,
                memory is { } m ? $"{Sizes.Text(m)} of memory" : null,
                disk is { } d ? $"{Sizes.Text(d)} of disk" : null,
                gpus is { } g and > 0 ? $"{g} GPUs" : null,
            }.OfType<string>()
        );
}
