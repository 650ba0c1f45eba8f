using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
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
            var published =
                layer.Known is { } known
                    ? known with
                    {
                        Blob = await PublishKnownAsync(lease, task, known.Blob, cancel),
                    }
                : product.SingleId ? await PushSingleIdAsync(lease, layer, cancel)
                : new PublishedLayer(await PushAsync(lease, layer.Open!, layer.MediaType, cancel), layer.DiffId);
            layers.Add(published);
            if (layer.Known is null)
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

    // A base's layer: the registry has it, or it goes there as it is.
    private async Task<Descriptor> PublishKnownAsync(
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
        if (await coordinator.HasBlobAsync(lease, known.Digest, cancel))
        {
            return descriptor;
        }

        var layout =
            task.Bases.FirstOrDefault(b => b.Layers.Any(l => l.Digest == known.Digest))?.Layout
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
        var (digest, size) = await coordinator.PushBlobAsync(
            lease,
            async (to, stop) => diffId = await SingleIdLayer.WriteAsync(layer.Open!(), to, stop),
            cancel
        );
        return new PublishedLayer(
            new Descriptor
            {
                MediaType = layer.MediaType,
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
