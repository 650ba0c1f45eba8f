using Kiln.BuildSpec.Architectures;
using Kiln.Client;
using Kiln.Client.Inspection;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>Chooses the image that is best for a machine, and says which it is and why.</summary>
internal sealed class BestImage(RegistryClient registry, Shell shell)
{
    private const int MaxDepth = 3;

    /// <summary>The image, by its digest; the reference keeps its tag.</summary>
    /// <param name="microarchitecture">What the machine is beyond its platform, by archspec's name; null where nothing is known.</param>
    /// <exception cref="RegistryException">None of its images is known to run there; the message has what each needs.</exception>
    public async Task<Reference> OfAsync(
        Reference reference,
        Platform platform,
        string? microarchitecture,
        CancellationToken cancel
    )
    {
        var machine = microarchitecture is null ? platform.ToString() : $"{platform} ({microarchitecture})";
        var manifest = await registry.GetManifestAsync(reference, cancel);
        var chosen = false;
        for (var depth = 0; MediaTypes.IsIndex(manifest.Info.MediaType); depth++)
        {
            var ranked = ImageChoice.Rank(manifest.Info.Manifests, platform, microarchitecture);
            if (depth == MaxDepth || ranked is not [{ Fit: ImageFit.Runs } best, ..])
            {
                throw None(reference, manifest, machine, ranked);
            }

            var rest = ranked.Count == 1 ? "the only one" : $"the best of {ranked.Count}";
            await shell.Error.WriteLineAsync(
                TerminalText.Escape($"{best.Entry.Digest}: {best.Why}; {rest} for this family, and this is {machine}")
            );
            manifest = await registry.GetManifestAsync(reference with { Digest = best.Entry.Digest }, cancel);
            chosen = true;
        }

        if (!chosen)
        {
            await CheckAsync(reference, manifest, platform, machine, cancel);
        }

        return reference with
        {
            Digest = manifest.Digest,
        };
    }

    // An image that is in no index says in its config what it is for.
    private async Task CheckAsync(
        Reference reference,
        RemoteManifest manifest,
        Platform platform,
        string machine,
        CancellationToken cancel
    )
    {
        if (manifest.Info.Config is not { Size: <= ImageConfig.MaxBytes } config)
        {
            throw CommandFailure.Usage($"{reference} is no image");
        }

        await using var blob = await registry.OpenWholeBlobAsync(RemoteRepository.Of(reference), config, cancel);
        using var bytes = new MemoryStream();
        await blob.CopyToAsync(bytes, cancel);
        if (Digest.Of(bytes.ToArray(), config.Digest.Algorithm) != config.Digest)
        {
            throw new RegistryException(
                RegistryFault.Broken,
                $"getting blob {config.Digest} of {reference}",
                "what came has another digest; it was not used"
            );
        }

        var entry = manifest.Descriptor with { Platform = ImageConfig.Read(bytes.ToArray()).Platform };
        if (ImageChoice.Rank([entry], platform, null) is not [{ Fit: ImageFit.Runs }])
        {
            throw CommandFailure.Usage(
                entry.Platform is { Os: "" } or { Architecture: "" }
                    ? $"{reference} does not say which machine it is for, and is no file that Kiln makes"
                    : $"{reference} is for {entry.Platform}, and this is {machine}"
            );
        }
    }

    private static RegistryException None(
        Reference reference,
        RemoteManifest index,
        string machine,
        IReadOnlyList<ImageOption> ranked
    )
    {
        var others = index.Info.Manifests.Select(m => m.Platform?.ToString()).OfType<string>().Distinct();
        var why =
            ranked.Count == 0
                ? $"it has {string.Join(", ", others)}"
                : string.Join("; ", ranked.Select(o => $"{o.Entry.Digest}: {o.Why}"));
        return new RegistryException(
            RegistryFault.NotFound,
            $"choosing from {reference}",
            $"it has no image that is known to run on {machine}: {why}"
        );
    }
}
