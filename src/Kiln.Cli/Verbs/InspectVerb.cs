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
        var what = new Argument<string>("image")
        {
            Description =
                "An image, HOST/NAME:TAG. For a job its repository, HOST/NAME, and then ID; or the job's URL.",
            HelpName = "IMAGE|HOST/NAME",
        };
        var id = JobArgument.IdOf("A job of that repository, as kiln jobs HOST/NAME lists it.");
        var json = new Option<bool>("--json") { Description = "The job, the manifest, or the hints, as they are." };
        var hints = new HintsOptions();
        var insecure = Connection.InsecureOption();
        var command = new Command("inspect", "Show a job, or an image and what it is good for.")
        {
            what,
            id,
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
                        var (name, job) = (parsed.GetRequiredValue(what), parsed.GetValue(id));
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        if (job is not null || JobAddress.TryParseUrl(name, out _))
                        {
                            var found = await connection.Builds.GetAsync(
                                References.Job(name, job, shell),
                                TimeSpan.Zero,
                                cancel
                            );
                            await shell.Out.WriteAsync(parsed.GetValue(json) ? JobJson(found) : JobText.Of(found));
                        }
                        else if (hints.AreAskedFor(parsed))
                        {
                            var image = Image(name, shell);
                            await hints.ShowAsync(parsed, image, parsed.GetValue(json), connection, shell, cancel);
                        }
                        else
                        {
                            var image = Image(name, shell);
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

    // A job's id by itself looks like the name of an image without a registry.
    private static Reference Image(string name, Shell shell) =>
        Ids.IsWellFormed(name) && string.IsNullOrEmpty(shell.Variable(References.DefaultRegistry))
            ? throw CommandFailure.Usage(
                $"'{name}' names no registry; write HOST/NAME:TAG for an image, and HOST/NAME {name} for a job"
            )
            : References.Target(name, shell);

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
