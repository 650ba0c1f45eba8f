using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Client.Inspection;
using Kiln.Oci;

namespace Kiln.Node.Deriving;

/// <summary>A finished image on this node's disk: its manifest, its config, and its layers as files.</summary>
internal sealed class SourceImage
{
    private readonly string _directory;

    private SourceImage(ImageManifest manifest, byte[] config, string directory) =>
        (Manifest, Config, _directory) = (manifest, config, directory);

    public ImageManifest Manifest { get; }
    public byte[] Config { get; }

    /// <summary>Brings an image here; all bytes are held against their digests.</summary>
    /// <param name="image">The manifest, with its bytes.</param>
    /// <param name="open">Opens a blob; null where it is not there.</param>
    /// <param name="directory">Where its files go.</param>
    /// <param name="maxBytes">Of all layers together.</param>
    /// <param name="disk">What they are written through.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="DerivationException">It is not whole, or too large.</exception>
    public static async Task<SourceImage> FetchAsync(
        Descriptor image,
        Func<Digest, CancellationToken, Task<Stream?>> open,
        string directory,
        long maxBytes,
        DiskGuard disk,
        CancellationToken cancel
    )
    {
        if (image.Data is not { } bytes || Digest.Of(bytes, image.Digest.Algorithm) != image.Digest)
        {
            throw new DerivationException("the task has not the bytes of the image's manifest");
        }

        var manifest = JsonSerializer.Deserialize(bytes, OciJson.Default.ImageManifest)!;
        if (manifest.Config.Size > ImageConfig.MaxBytes)
        {
            throw new DerivationException($"the image's config is larger than {ImageConfig.MaxBytes} bytes");
        }

        if (manifest.Layers.Sum(l => l.Size) > maxBytes)
        {
            throw new DerivationException(
                $"the image's layers are larger than the {maxBytes} bytes that one build may use on this node"
            )
            {
                IsLimit = true,
            };
        }

        Directory.CreateDirectory(directory);
        foreach (var blob in manifest.Layers.Prepend(manifest.Config).DistinctBy(b => b.Digest))
        {
            await FetchAsync(blob, open, FileOf(directory, blob), disk, cancel);
        }

        var config = await File.ReadAllBytesAsync(FileOf(directory, manifest.Config), cancel);
        return new SourceImage(manifest, config, directory);
    }

    /// <summary>Opens a layer's blob.</summary>
    /// <param name="layer">Counted from 0, the lowest.</param>
    public ValueTask<Stream> OpenLayer(int layer, CancellationToken cancel) =>
        new(File.OpenRead(FileOf(_directory, Manifest.Layers[layer])));

    /// <summary>The config with other layers; all that it says of how the image is run stays.</summary>
    /// <param name="step">What was done, for the history.</param>
    /// <param name="oneLayer">Whether what the steps before it made is in one layer now.</param>
    public byte[] WithLayers(IReadOnlyList<Digest> diffIds, string step, bool oneLayer)
    {
        var config = JsonNode.Parse(Config)!.AsObject();
        config["rootfs"] = new JsonObject
        {
            ["type"] = "layers",
            ["diff_ids"] = new JsonArray([.. diffIds.Select(d => (JsonNode)d.ToString())]),
        };
        var history = config["history"] as JsonArray ?? [];
        if (oneLayer)
        {
            foreach (var old in history.OfType<JsonObject>())
            {
                old["empty_layer"] = true;
            }
        }

        var now = new JsonObject { ["created_by"] = $"kiln: {step}" };
        if (!oneLayer)
        {
            now["empty_layer"] = true;
        }

        history.Add((JsonNode)now);
        config["history"] = history.Parent is null ? history : history.DeepClone();
        return Encoding.UTF8.GetBytes(config.ToJsonString());
    }

    private static string FileOf(string directory, Descriptor blob) => Path.Combine(directory, blob.Digest.Encoded);

    private static async Task FetchAsync(
        Descriptor blob,
        Func<Digest, CancellationToken, Task<Stream?>> open,
        string file,
        DiskGuard disk,
        CancellationToken cancel
    )
    {
        await using var from =
            await open(blob.Digest, cancel)
            ?? throw new DerivationException($"the image's blob {blob.Digest} is no longer in the repository");
        await using var to = new FileStream(file, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
        await using var bounded = disk.Bound(to);
        using var hash = Digest.Start(blob.Digest.Algorithm);
        var buffer = new byte[1 << 18];
        for (int read; (read = await from.ReadAsync(buffer, cancel)) > 0 && to.Position <= blob.Size; )
        {
            hash.AppendData(buffer.AsSpan(0, read));
            await bounded.WriteAsync(buffer.AsMemory(0, read), cancel);
        }

        if (to.Position != blob.Size || Digest.Finish(blob.Digest.Algorithm, hash) != blob.Digest)
        {
            throw new IOException($"the blob {blob.Digest} did not come whole");
        }
    }
}
