using System.CommandLine;
using System.Text;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Products;
using Kiln.Client.Inspection;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln inspect --hints</c>: what an image is good for, from whoever knows it, or else measured here.</summary>
internal sealed class HintsOptions
{
    private const int MaxAttachMinutes = 30;
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(50);

    public Option<bool> Hints { get; } =
        new("--hints")
        {
            Description =
                "What the image is good for: flattening, processor, MPI, GPU, sizes. Where the registry has not measured it, its layers are read here.",
        };
    public Option<bool> Attach { get; } =
        new("--attach")
        {
            Description = "Have the registry measure the image and attach the hints to it. Takes the right to push.",
        };
    public Option<string> Platform { get; } =
        new("--platform")
        {
            Description = "Which image of an index; this machine's without it.",
            HelpName = "OS/ARCH[/VARIANT]",
        };

    public bool AreAskedFor(ParseResult parsed) =>
        parsed.GetValue(Hints) ? true
        : parsed.GetValue(Attach) || parsed.GetValue(Platform) is not null
            ? throw CommandFailure.Usage("--attach and --platform go with --hints")
        : false;

    public async Task ShowAsync(
        ParseResult parsed,
        Reference image,
        bool json,
        Connection connection,
        Shell shell,
        CancellationToken cancel
    )
    {
        var document = await GetAsync(parsed, image, connection, shell, cancel);
        await shell.Out.WriteAsync(
            json ? Encoding.UTF8.GetString(document.ToBytes()) + "\n" : HintsText.Of(image, document)
        );
    }

    private async Task<HintsDocument> GetAsync(
        ParseResult parsed,
        Reference named,
        Connection connection,
        Shell shell,
        CancellationToken cancel
    )
    {
        var image = await ChooseAsync(parsed, named, connection.Registry, cancel);
        var repository = RemoteRepository.Of(named);
        if (parsed.GetValue(Attach))
        {
            await AttachAsync(repository, image.Digest, connection, shell, cancel);
        }

        return await connection.Builds.FindHintsAsync(repository, image.Digest, cancel)
            ?? await new RegistryInspection(connection.Registry).MeasureAsync(
                repository,
                image,
                layer => shell.Error.WriteLine($"reading {layer.Digest}, {Sizes.Text(layer.Size)}"),
                cancel
            );
    }

    private static async Task AttachAsync(
        RemoteRepository repository,
        Digest image,
        Connection connection,
        Shell shell,
        CancellationToken cancel
    )
    {
        var start = shell.Time.GetTimestamp();
        while (true)
        {
            var asked = shell.Time.GetTimestamp();
            if (await connection.Builds.AttachHintsAsync(repository, image, Wait, cancel))
            {
                return;
            }

            if (shell.Time.GetElapsedTime(start) > TimeSpan.FromMinutes(MaxAttachMinutes))
            {
                throw CommandFailure.NotPossible(
                    $"{repository.Host} is still reading the layers after {MaxAttachMinutes} minutes; ask again later"
                );
            }

            await shell.Error.WriteLineAsync($"{repository.Host} is reading the layers");
            // Whoever answers sooner than was asked for is not asked again at once.
            var pause = TimeSpan.FromSeconds(5) - shell.Time.GetElapsedTime(asked);
            await Task.Delay(pause > TimeSpan.Zero ? pause : TimeSpan.Zero, shell.Time, cancel);
        }
    }

    private async Task<RemoteManifest> ChooseAsync(
        ParseResult parsed,
        Reference named,
        RegistryClient registry,
        CancellationToken cancel
    )
    {
        var manifest = await registry.GetManifestAsync(named, cancel);
        if (!MediaTypes.IsIndex(manifest.Info.MediaType))
        {
            return manifest.Info.Config is { } config && MediaTypes.IsImageConfig(config.MediaType)
                ? manifest
                : throw CommandFailure.Usage($"{named} is no image, but {manifest.Info.EffectiveArtifactType}");
        }

        var children = manifest.Info.Manifests;
        var chosen =
            parsed.GetValue(Platform) is not { } text
                ? ImageChoice.Of(children, ExportVerb.OwnPlatform())
                    ?? children.FirstOrDefault(c =>
                        MediaTypes.IsImageManifest(c.MediaType) && c.Platform?.Os is not (null or "unknown")
                    )
            : Oci.Platform.TryParse(text, out var platform)
                ? children.FirstOrDefault(c => c.Platform == platform) ?? ImageChoice.Of(children, platform)
            : throw CommandFailure.Usage($"'{text}' is no platform; write OS/ARCHITECTURE, for example linux/amd64");
        return chosen is not null
            ? await registry.GetManifestAsync(
                new Reference(named.Host, named.Repository, Tag: null, chosen.Digest),
                cancel
            )
            : throw CommandFailure.Usage(
                $"{named} has no image for {parsed.GetValue(Platform) ?? "any platform"}; it has {string.Join(", ", children.Select(c => c.Platform?.ToString()).OfType<string>())}"
            );
    }
}
