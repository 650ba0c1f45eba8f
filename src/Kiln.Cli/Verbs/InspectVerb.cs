using System.CommandLine;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Client.Builds;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln inspect</c>: a job, or an image.</summary>
internal static class InspectVerb
{
    public static Command Create(Shell shell)
    {
        var what = new Argument<string[]>("what")
        {
            Description = "A job (HOST/NAME ID, or its URL), or an image (HOST/NAME:TAG).",
            HelpName = "JOB|IMAGE",
            Arity = new ArgumentArity(1, 2),
        };
        var json = new Option<bool>("--json") { Description = "The job, the manifest, or the hints, as they are." };
        var hints = new HintsOptions();
        var insecure = Connection.InsecureOption();
        var command = new Command("inspect", "Show a job, or an image and what it is good for.")
        {
            what,
            json,
            hints.Hints,
            hints.Attach,
            hints.Platform,
            insecure,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var words = parsed.GetRequiredValue(what);
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        if (words.Length == 2 || JobAddress.TryParseUrl(words[0], out _))
                        {
                            var job = await connection.Builds.GetAsync(
                                References.Job(words, shell),
                                TimeSpan.Zero,
                                cancel
                            );
                            await shell.Out.WriteAsync(parsed.GetValue(json) ? JobJson(job) : JobText.Of(job));
                        }
                        else if (hints.AreAskedFor(parsed))
                        {
                            var image = References.Target(words[0], shell);
                            await hints.ShowAsync(parsed, image, parsed.GetValue(json), connection, shell, cancel);
                        }
                        else
                        {
                            var image = References.Target(words[0], shell);
                            var manifest = await connection.Registry.GetManifestAsync(image, cancel);
                            await shell.Out.WriteAsync(
                                parsed.GetValue(json)
                                    ? System.Text.Encoding.UTF8.GetString(manifest.Bytes.Span) + "\n"
                                    : ImageText(image, manifest)
                            );
                        }

                        return ExitCodes.Ok;
                    }
                )
        );
        return command;
    }

    private static string JobJson(Job job) => JsonSerializer.Serialize(job, BuildJson.Default.Job) + "\n";

    private static string ImageText(Reference image, RemoteManifest manifest)
    {
        using var text = new StringWriter();
        List<string[]> rows =
        [
            ["image", image.ToString()],
            ["digest", manifest.Digest.ToString()],
            ["type", manifest.Info.EffectiveArtifactType ?? manifest.Info.MediaType],
            .. Annotations(manifest.Info.Annotations, ""),
        ];
        foreach (var child in manifest.Info.Manifests)
        {
            rows.Add([child.Platform?.ToString() ?? child.ArtifactType ?? "manifest", $"{child.Digest}"]);
            rows.AddRange(Annotations(child.Annotations, "  "));
        }

        if (manifest.Info.Layers.Count > 0)
        {
            rows.Add(["layers", $"{manifest.Info.Layers.Count}, {Sizes.Text(manifest.Info.LayerBytes)}"]);
            rows.AddRange(manifest.Info.Layers.Select(l => (string[])[$"  {Sizes.Text(l.Size)}", l.Digest.ToString()]));
        }

        Columns.Write(text, rows);
        return text.ToString();
    }

    private static IEnumerable<string[]> Annotations(IReadOnlyDictionary<string, string>? annotations, string indent) =>
        (annotations ?? new Dictionary<string, string>())
            .OrderBy(a => a.Key, StringComparer.Ordinal)
            .Select(a => (string[])[$"{indent}{a.Key}", a.Value]);
}
