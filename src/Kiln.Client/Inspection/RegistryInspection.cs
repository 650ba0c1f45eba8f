using System.Text.Json;
using Kiln.BuildSpec.Products;
using Kiln.Client.Archives;
using Kiln.Client.Builds;
using Kiln.Client.Registry;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Client.Inspection;

/// <summary>
/// Measures an image of any registry, by reading its layers as they come: nothing is kept on the disk, and of each layer
/// only its facts in memory.
/// </summary>
public sealed class RegistryInspection(RegistryClient registry)
{
    /// <param name="image">An image manifest, and not an index.</param>
    /// <param name="read">Told of each layer before it is read.</param>
    /// <exception cref="RegistryException">
    /// The registry could not be asked, or the image cannot be measured: a layer is no tar, or has other bytes than its
    /// digest says.
    /// </exception>
    public async Task<HintsDocument> MeasureAsync(
        RemoteRepository repository,
        RemoteManifest image,
        Action<Descriptor>? read,
        CancellationToken cancel
    )
    {
        var action = $"reading the layers of {repository}@{image.Digest}";
        if (image.Info.Config is not { Size: <= ImageConfig.MaxBytes } named)
        {
            throw new RegistryException(RegistryFault.Broken, action, "it has no image config that can be read");
        }

        var bytes =
            await ProvenanceReader.ReadBlobAsync(registry, repository, named, cancel)
            ?? throw new RegistryException(RegistryFault.Broken, action, $"its config is not {named.Digest}");
        ImageConfig config;
        try
        {
            config = ImageConfig.Read(bytes);
        }
        catch (JsonException e)
        {
            throw new RegistryException(RegistryFault.Broken, action, $"its config is not JSON: {e.Message}", e);
        }

        var layers = new List<(Descriptor, LayerFacts)>();
        foreach (var layer in image.Info.Layers)
        {
            read?.Invoke(layer);
            layers.Add((layer, await ReadAsync(repository, layer, action, cancel)));
        }

        return new MeasuredImage
        {
            Subject = new Descriptor
            {
                MediaType = image.Info.MediaType,
                Digest = image.Digest,
                Size = image.Bytes.Length,
            },
            Platform = config.Platform,
            User = config.User,
            Layers = layers,
        }
            .Judge()
            .Document;
    }

    private async Task<LayerFacts> ReadAsync(
        RemoteRepository repository,
        Descriptor layer,
        string action,
        CancellationToken cancel
    )
    {
        var verified = new VerifiedStream(
            await registry.OpenWholeBlobAsync(repository, layer, cancel),
            layer,
            repository.ToString()
        );
        await using var blob = new BlockingStream(verified);
        var (facts, _, fault) = await LayerFacts.ReadAsync(blob, cancel);
        return facts is null
                ? throw new RegistryException(
                    RegistryFault.Broken,
                    action,
                    $"the layer {layer.Digest} cannot be judged: {fault}"
                )
            // Not to its end, not verified: what follows the compressed tar is a part of the blob all the same.
            : verified.Position != layer.Size
                ? throw new RegistryException(
                    RegistryFault.Broken,
                    action,
                    $"the layer {layer.Digest} has something behind its end"
                )
            : facts;
    }

    // For readers of tars, which may read synchronously where a stream cannot.
    private sealed class BlockingStream(Stream inner) : WrappingStream(inner)
    {
        public override int Read(Span<byte> buffer)
        {
            var bytes = new byte[buffer.Length];
            var read = Inner.ReadAsync(bytes).AsTask().GetAwaiter().GetResult();
            bytes.AsSpan(0, read).CopyTo(buffer);
            return read;
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            Inner.ReadAsync(buffer, cancellationToken);
    }
}
