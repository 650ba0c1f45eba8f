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
            ]
        );
    }

    private static string Resources(BuildInfoLimits limits)
    {
        var most = new[]
        {
            limits.MaxCpus is { } cpus ? $"{cpus} CPUs" : null,
            limits.MaxMemoryBytes is { } memory ? $"{Sizes.Text(memory)} of memory" : null,
            limits.MaxDiskBytes is { } disk ? $"{Sizes.Text(disk)} of disk" : null,
            limits.MaxGpus is { } gpus and > 0 ? $"{gpus} GPUs" : null,
        };
        var text = string.Join(", ", most.OfType<string>());
        return text.Length == 0 ? "nothing of its own" : $"at most {text}";
    }
}
