using Kiln.BuildSpec;
using Kiln.Inspect.Rewriting;
using Kiln.Oci;

namespace Kiln.Node.Deriving;

/// <summary>The image with each layer of a single id; layers that are so already stay what they are.</summary>
internal sealed class SingleId(Derivation derivation, SourceImage image)
{
    private readonly List<Descriptor> _layers = [];
    private readonly List<Digest> _diffIds = [];
    private FlattenReport _report = new();

    public async Task<LeaseResult> MakeAsync(CancellationToken cancel)
    {
        var known = KnownDiffIds();
        for (var at = 0; at < image.Manifest.Layers.Count; at++)
        {
            var layer = image.Manifest.Layers[at];
            var file = Path.Combine(derivation.Home, $"single-id-{at}");
            var (changes, diffId) = await RewriteAsync(at, file, cancel);
            if (changes.Entries == 0)
            {
                _layers.Add(layer);
                _diffIds.Add(known[at]);
                _report = _report with { LayersKept = _report.LayersKept + 1 };
            }
            else
            {
                _layers.Add(
                    await derivation.PushAsync(
                        async (to, stop) =>
                        {
                            await using var from = File.OpenRead(file);
                            await from.CopyToAsync(to, 1 << 20, stop);
                        },
                        derivation.LayerType,
                        cancel
                    )
                );
                _diffIds.Add(diffId);
                Add(changes);
            }

            File.Delete(file);
        }

        Tell();
        var result = await derivation.PublishAsync(
            new ImageManifest
            {
                Config = await derivation.PushConfigAsync(
                    image.WithLayers(_diffIds, "flattened to a single id", oneLayer: false),
                    cancel
                ),
                Layers = _layers,
                Annotations = new Dictionary<string, string>(
                    image.Manifest.Annotations ?? new Dictionary<string, string>(),
                    StringComparer.Ordinal
                )
                {
                    [HintAnnotations.FlattenChanges] = _report.Summary(),
                },
            },
            cancel
        );
        return result with { Flattening = _report };
    }

    private async Task<(SingleIdChanges Changes, Digest DiffId)> RewriteAsync(
        int layer,
        string file,
        CancellationToken cancel
    )
    {
        await using var to = new FileStream(file, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16);
        return await SingleIdRewrite.PackAsync(
            await image.OpenLayer(layer, cancel),
            derivation.Disk.Bound(to),
            derivation.IsZstd,
            whole: true,
            cancel
        );
    }

    private List<Digest> KnownDiffIds() =>
        [
            .. Client
                .Inspection.ImageConfig.Read(image.Config)
                .DiffIds.Select(d =>
                    Digest.TryParse(d, out var digest)
                        ? digest
                        : throw new DerivationException("the image's config has a layer without a digest")
                ),
        ];

    private void Add(SingleIdChanges changes) =>
        _report = _report with
        {
            Entries = _report.Entries + changes.Entries,
            Owners = _report.Owners + changes.Owners,
            SetIds = _report.SetIds + changes.SetIds,
            Capabilities = _report.Capabilities + changes.Capabilities,
            AccessLists = _report.AccessLists + changes.AccessLists,
            Modes = _report.Modes + changes.Modes,
            Devices = _report.Devices + changes.Devices,
            LayersChanged = _report.LayersChanged + 1,
            SetIdFiles = [.. _report.SetIdFiles.Concat(changes.SetIdFiles).Take(FlattenReport.MaxPaths)],
        };

    private void Tell()
    {
        derivation.Tell(
            $"{_report.Entries} entries were changed: {_report.Owners} are root's now, {_report.SetIds} have lost set-id bits, "
                + $"{_report.Capabilities} capabilities, {_report.AccessLists} access control lists; {_report.Modes} could not be "
                + $"read by their owner, {_report.Devices} device nodes were left out"
        );
        foreach (var path in _report.SetIdFiles)
        {
            derivation.Tell($"set-id bits taken from {path}");
        }

        derivation.Tell(
            $"{_report.LayersChanged} layers have another digest than before, those of the base included; {_report.LayersKept} stay as they were"
        );
    }
}
