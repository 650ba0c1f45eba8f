using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;
using Kiln.Inspect;
using Kiln.Inspect.Rewriting;
using Kiln.Node.Engines;
using Kiln.Oci;

namespace Kiln.Node.Publishing;

/// <summary>
/// Hands a finished image over: the blobs that the registry lacks, the config, and the manifest, all into the lease's
/// staging area. Bases keep their layers' digests.
/// </summary>
internal sealed class ProductPublisher(IBuildCoordinator coordinator)
{
    /// <summary>The product's manifest, and what each new layer became, by the engine's diff ID.</summary>
    public async Task<(Descriptor Manifest, Dictionary<string, PublishedLayer> NewLayers)> PublishAsync(
        Lease lease,
        EngineTask task,
        EngineResult product,
        CancellationToken cancel
    )
    {
        var layers = new List<PublishedLayer>();
        var made = new Dictionary<string, PublishedLayer>(StringComparer.Ordinal);
        foreach (var layer in product.Layers)
        {
            var there = layer.Known is { } known ? await PublishKnownAsync(lease, task, known.Blob, cancel) : null;
            var published =
                there is not null ? layer.Known! with { Blob = there }
                : layer.Known is null && product.SingleId ? await PushSingleIdAsync(lease, layer, cancel)
                : new PublishedLayer(
                    layer.Known is null && TypeOf(lease) == layer.MediaType
                        ? await PushAsync(lease, layer.Open!, layer.MediaType, cancel)
                        : await PackAsync(lease, stop => OpenAsync(lease, layer, stop), cancel),
                    layer.Known?.DiffId ?? layer.DiffId
                );
            layers.Add(published);
            if (there is null)
            {
                made[layer.DiffId.ToString()] = published;
            }
        }

        var config = WithDiffIds(product.Config!, layers);
        var (configDigest, configSize) = await coordinator.PushBlobAsync(
            lease,
            (to, stop) => to.WriteAsync(config, stop).AsTask(),
            cancel
        );
        var manifest = new ImageManifest
        {
            Config = new Descriptor
            {
                MediaType = MediaTypes.OciConfig,
                Digest = configDigest,
                Size = configSize,
            },
            Layers = [.. layers.Select(l => l.Blob)],
            Annotations = Annotations(product.Base),
        };
        var bytes = JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest);
        return (await coordinator.PushManifestAsync(lease, bytes, MediaTypes.OciManifest, cancel), made);
    }

    // What new layers are compressed with.
    private static string TypeOf(Lease lease) =>
        lease.Task.Compression == OutputFormats.Zstd ? MediaTypes.OciLayerZstd : MediaTypes.OciLayerGzip;

    private async Task<Stream> OpenAsync(Lease lease, EngineLayer layer, CancellationToken cancel) =>
        layer.Known is not { } known
            ? layer.Open!()
            : await coordinator.OpenBlobAsync(lease, known.Blob.Digest, cancel)
                ?? throw new InvalidDataException(
                    $"the layer {known.Blob.Digest} of an earlier build is no longer in the repository"
                );

    private async Task<Descriptor> PackAsync(
        Lease lease,
        Func<CancellationToken, Task<Stream>> open,
        CancellationToken cancel
    )
    {
        var type = TypeOf(lease);
        var (digest, size) = await coordinator.PushBlobAsync(
            lease,
            async (to, stop) =>
            {
                await using var plain = await LayerStream.OpenAsync(await open(stop), LayerFacts.MaxTarBytes, stop);
                await using var packed = LayerStream.Pack(to, type == MediaTypes.OciLayerZstd);
                await plain.CopyToAsync(packed, 1 << 18, stop);
            },
            cancel
        );
        return new Descriptor
        {
            MediaType = type,
            Digest = digest,
            Size = size,
        };
    }

    // A base's layer: the registry has it, or it goes there as it is. Null for a cached step's that is compressed in another
    // way than was asked for.
    private async Task<Descriptor?> PublishKnownAsync(
        Lease lease,
        EngineTask task,
        Descriptor known,
        CancellationToken cancel
    )
    {
        var descriptor = new Descriptor
        {
            MediaType = OciType(known.MediaType),
            Digest = known.Digest,
            Size = known.Size,
        };
        var image = task.Bases.FirstOrDefault(b => b.Layers.Any(l => l.Digest == known.Digest));
        var there = await coordinator.HasBlobAsync(lease, known.Digest, cancel);
        if (image is null && there && descriptor.MediaType != TypeOf(lease))
        {
            return null;
        }

        if (there)
        {
            return descriptor;
        }

        var layout =
            image?.Layout
            ?? throw new InvalidDataException(
                $"the layer {known.Digest} of an earlier build is no longer in the repository"
            );
        var path = Path.Combine(layout, "blobs", known.Digest.Algorithm, known.Digest.Encoded);
        var pushed = await PushAsync(lease, () => File.OpenRead(path), descriptor.MediaType, cancel);
        return pushed.Digest == known.Digest || known.Digest.Algorithm != Digest.Sha256
            ? pushed
            : throw new InvalidDataException($"the base's layer {known.Digest} was changed on this node's disk");
    }

    private async Task<Descriptor> PushAsync(Lease lease, Func<Stream> open, string mediaType, CancellationToken cancel)
    {
        var (digest, size) = await coordinator.PushBlobAsync(
            lease,
            async (to, stop) =>
            {
                await using var from = open();
                await from.CopyToAsync(to, 1 << 20, stop);
            },
            cancel
        );
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = digest,
            Size = size,
        };
    }

    private async Task<PublishedLayer> PushSingleIdAsync(Lease lease, EngineLayer layer, CancellationToken cancel)
    {
        Digest? diffId = null;
        var type = TypeOf(lease);
        var (digest, size) = await coordinator.PushBlobAsync(
            lease,
            async (to, stop) =>
                (_, diffId) = await SingleIdRewrite.PackAsync(
                    layer.Open!(),
                    to,
                    type == MediaTypes.OciLayerZstd,
                    whole: false,
                    stop
                ),
            cancel
        );
        return new PublishedLayer(
            new Descriptor
            {
                MediaType = type,
                Digest = digest,
                Size = size,
            },
            diffId!
        );
    }

    // Layers that were written anew, now or by an earlier build, have other digests than the engine knows.
    private static byte[] WithDiffIds(byte[] config, List<PublishedLayer> layers)
    {
        var json = JsonNode.Parse(config)!;
        var diffIds = layers.ConvertAll(l => l.DiffId.ToString());
        if (json["rootfs"]!["diff_ids"]!.AsArray().Select(d => d!.GetValue<string>()).SequenceEqual(diffIds))
        {
            return config;
        }

        json["rootfs"]!["diff_ids"] = new JsonArray([.. diffIds.Select(d => JsonValue.Create(d))]);
        return Encoding.UTF8.GetBytes(json.ToJsonString());
    }

    private static Dictionary<string, string>? Annotations(FetchedBase? image) =>
        image is null
            ? null
            : new Dictionary<string, string>
            {
                [HintAnnotations.BaseName] = image.Reference.Written,
                [HintAnnotations.BaseDigest] = image.Manifest.ToString(),
            };

    private static string OciType(string mediaType) =>
        mediaType == MediaTypes.DockerLayerGzip ? MediaTypes.OciLayerGzip : mediaType;
}
