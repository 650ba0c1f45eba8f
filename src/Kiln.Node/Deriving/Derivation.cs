using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Inspect;
using Kiln.Inspect.Rewriting;
using Kiln.Node.Sandbox;
using Kiln.Oci;
using Microsoft.Extensions.Logging;

namespace Kiln.Node.Deriving;

/// <summary>
/// Makes something of a finished image (build-extension, section 18): a SIF, a squashfs, an image of one layer, or the image
/// flattened to a single id. Nothing of the image is run.
/// </summary>
internal sealed partial class Derivation(
    Lease lease,
    IBuildCoordinator coordinator,
    string home,
    BuildLimits limits,
    Action<string> log
)
{
    private readonly LeaseTask _task = lease.Task;

    /// <summary>What is left of this node's disk while it writes.</summary>
    public DiskGuard Disk { get; } = new(limits, home);

    /// <summary>The formats that take no program, so that every machine makes them.</summary>
    public static IReadOnlyList<string> Everywhere { get; } = [OutputFormats.SingleLayer, OutputFormats.SingleId];

    /// <summary>The formats that this machine makes of images, as a trial shows.</summary>
    /// <param name="directory">Where it is tried.</param>
    /// <param name="log">Is told why not all are made.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>They, and why no files are made where none are.</returns>
    public static async Task<(IReadOnlyList<string> Formats, string? NoFiles)> FormatsAsync(
        string directory,
        ILogger log,
        CancellationToken cancel
    )
    {
        if (await SquashfsProbe.UnavailableAsync(directory, Programs.Find(Squashfs.Name), cancel) is not { } lacking)
        {
            return ([OutputFormats.Sif, OutputFormats.Squashfs, .. Everywhere], null);
        }

        LogNoSquashfs(log, lacking);
        return (Everywhere, lacking);
    }

    /// <exception cref="DerivationException">It cannot be made of this image.</exception>
    public async Task<LeaseResult> MakeAsync(CancellationToken cancel)
    {
        var image = await SourceImage.FetchAsync(
            _task.Recipe,
            (digest, stop) => coordinator.OpenBlobAsync(lease, digest, stop),
            Path.Combine(home, "layers"),
            limits.DiskBytes,
            Disk,
            cancel
        );
        log($"{_task.Format} of {_task.Recipe.Digest}: {image.Manifest.Layers.Count} layers\n");
        try
        {
            return _task.Format switch
            {
                OutputFormats.Sif or OutputFormats.Squashfs => await FileSystemAsync(image, cancel),
                OutputFormats.SingleLayer => await SingleLayerAsync(image, cancel),
                OutputFormats.SingleId => await new SingleId(this, image).MakeAsync(cancel),
                var other => throw new DerivationException($"this node knows no format '{other}'"),
            };
        }
        catch (Exception e) when (LayerStream.IsFault(e) || e is JsonException)
        {
            throw new DerivationException($"the image cannot be read: {e.Message}");
        }
    }

    private async Task<LeaseResult> FileSystemAsync(SourceImage image, CancellationToken cancel)
    {
        var isSif = _task.Format == OutputFormats.Sif;
        var config = RunConfig.Read(image.Config);
        var code = isSif ? SifFile.ArchitectureCode(config.Architecture) : null;
        if (isSif && code is null)
        {
            throw new DerivationException($"a SIF cannot be for the architecture '{config.Architecture}'");
        }

        var file = Path.Combine(home, "root.squashfs");
        var compression = OutputFormats.CompressionOf(_task.Format, _task.Compression);
        var merge = new LayerMerge(
            image.Manifest.Layers.Count,
            image.OpenLayer,
            new MergeOptions
            {
                OneOwner = true,
                Added = isSif ? SingularityFiles.Of(config) : [],
                Time = config.Created,
            }
        );
        MergeReport? report = null;
        await new Squashfs(compression, config.Created, limits).MakeAsync(
            file,
            async (tar, stop) => report = await merge.WriteAsync(tar, stop),
            cancel
        );
        var length = new FileInfo(file).Length;
        Tell(report!, $"{length} bytes, {compression}");
        var head = isSif ? SifFile.Head(code!, length, _task.Recipe.Digest, config.Created) : [];
        var layer = await PushAsync(
            async (to, stop) =>
            {
                await to.WriteAsync(head, stop);
                await using var from = File.OpenRead(file);
                await from.CopyToAsync(to, 1 << 20, stop);
            },
            isSif ? BuildMediaTypes.SifLayer : BuildMediaTypes.SquashfsLayer,
            cancel
        );
        return await PublishAsync(
            new ImageManifest
            {
                ArtifactType = isSif ? null : BuildMediaTypes.Squashfs,
                Config = isSif
                    ? await PushAsync(
                        (to, stop) => to.WriteAsync("{}"u8.ToArray(), stop).AsTask(),
                        BuildMediaTypes.SifConfig,
                        cancel
                    )
                    : image.Manifest.Config,
                Layers = [layer with { Annotations = Title(isSif ? "sif" : "squashfs", config.Architecture) }],
                Subject = Subject,
                Annotations = Annotations,
            },
            cancel
        );
    }

    private async Task<LeaseResult> SingleLayerAsync(SourceImage image, CancellationToken cancel)
    {
        var merge = new LayerMerge(
            image.Manifest.Layers.Count,
            image.OpenLayer,
            new MergeOptions { Time = RunConfig.Read(image.Config).Created }
        );
        MergeReport? report = null;
        Digest? diffId = null;
        var layer = await PushAsync(
            async (to, stop) =>
            {
                await using var packed = LayerStream.Pack(to, IsZstd);
                await using var tar = new HashingStream(packed);
                report = await merge.WriteAsync(tar, stop);
                diffId = tar.Digest;
            },
            LayerType,
            cancel
        );
        Tell(report!, $"{layer.Size} bytes");
        return await PublishAsync(
            new ImageManifest
            {
                Config = await PushConfigAsync(image.WithLayers([diffId!], "one layer", oneLayer: true), cancel),
                Layers = [layer],
                Subject = Subject,
                Annotations = Annotations,
            },
            cancel
        );
    }

    public bool IsZstd => _task.Compression == OutputFormats.Zstd;

    public string LayerType => IsZstd ? MediaTypes.OciLayerZstd : MediaTypes.OciLayerGzip;

    public string Home => home;

    public void Tell(MergeReport report, string made)
    {
        log($"{report.Entries} entries with {report.Bytes} bytes are now {made}\n");
        foreach (var sentence in report.Left)
        {
            log($"{sentence}\n");
        }
    }

    public void Tell(string line) => log(line + "\n");

    public Task<Descriptor> PushConfigAsync(byte[] config, CancellationToken cancel) =>
        PushAsync((to, stop) => to.WriteAsync(config, stop).AsTask(), MediaTypes.OciConfig, cancel);

    public async Task<Descriptor> PushAsync(
        Func<Stream, CancellationToken, Task> write,
        string mediaType,
        CancellationToken cancel
    )
    {
        var (digest, size) = await coordinator.PushBlobAsync(
            lease,
            // A node that is not the registry itself writes it to its disk first.
            (to, stop) => write(Disk.Bound(to), stop),
            cancel
        );
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = digest,
            Size = size,
        };
    }

    public async Task<LeaseResult> PublishAsync(ImageManifest manifest, CancellationToken cancel) =>
        new()
        {
            State = BuildStates.Succeeded,
            Manifest = await coordinator.PushManifestAsync(
                lease,
                JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest),
                MediaTypes.OciManifest,
                cancel
            ),
        };

    private Descriptor Subject =>
        new()
        {
            MediaType = _task.Recipe.MediaType,
            Digest = _task.Recipe.Digest,
            Size = _task.Recipe.Size,
        };

    private Dictionary<string, string> Annotations =>
        new(StringComparer.Ordinal) { [HintAnnotations.Format] = _task.Format };

    // By which `oras pull` names the file.
    private Dictionary<string, string> Title(string extension, string architecture)
    {
        var name = lease.Repository[(lease.Repository.LastIndexOf('/') + 1)..];
        return new(StringComparer.Ordinal) { [RecipeAnnotations.Title] = $"{name}-{architecture}.{extension}" };
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "SIF and squashfs files are not made here: {Why}")]
    private static partial void LogNoSquashfs(ILogger log, string why);
}
