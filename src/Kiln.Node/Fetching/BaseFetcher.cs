using System.Collections.Concurrent;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Client;
using Kiln.Client.Registry;
using Kiln.Node.Engines;
using Kiln.Oci;

namespace Kiln.Node.Fetching;

/// <summary>
/// Resolves base images to digests and brings their verified blobs onto the node, with whatever credentials that takes;
/// the build itself gets none.
/// <code>
/// bases/HEX/layout/    an OCI image layout; index.json is written last and says that it is whole
/// bases/HEX/store/     the same unpacked, made by the engine
/// </code>
/// </summary>
internal sealed class BaseFetcher(RegistryClient client, BaseShelf shelf, long maxBytes)
{
    private const int MaxConfigBytes = 8 << 20;
    private readonly ConcurrentDictionary<string, SemaphoreSlim> _locks = new(StringComparer.Ordinal);

    /// <summary>For one build: what it fetches stays until it lets go.</summary>
    public BaseHold Hold() => new(shelf);

    /// <param name="microarchitecture">What is built for beyond the base's platform; null where that says all.</param>
    /// <param name="pinned">The digest of the very image that it has to be; null for the one that it is now.</param>
    /// <param name="login">Speaks to registries with the build's own logins; null where it has none.</param>
    /// <param name="rules">Where bases are had, and may not be; null for anywhere.</param>
    /// <exception cref="RegistryException">The image could not be had.</exception>
    /// <exception cref="FormatException">The reference is none, or the image is not one that can be built on.</exception>
    public async Task<FetchedBase> FetchAsync(
        BaseReference wanted,
        string? microarchitecture,
        Digest? pinned,
        BaseHold hold,
        RegistryClient? login,
        BaseRules? rules,
        CancellationToken cancel
    )
    {
        var registry = login ?? client;
        if (!Reference.TryParse(wanted.Written, out var reference))
        {
            throw new FormatException($"'{wanted.Written}' is not an image reference");
        }

        var place = rules?.Place(reference) ?? reference;
        place = pinned is null ? place : place with { Digest = pinned };
        var image = await registry.ResolveAsync(place, wanted.Platform, microarchitecture, cancel);
        var info = image.Manifest.Info;
        if (info.LayerBytes > maxBytes)
        {
            throw new FormatException(
                $"the base image {wanted.Written} has {info.LayerBytes} bytes of layers; this node takes {maxBytes}"
            );
        }

        if (wanted.IsSif && info.Layers is not [{ MediaType: BuildMediaTypes.SifLayer }])
        {
            throw new FormatException(
                $"{wanted.Written} is not a SIF file; name an image with layers with 'Bootstrap: docker' instead of oras"
            );
        }

        var home = hold.Take(image.Manifest.Digest.Encoded);
        var gate = _locks.GetOrAdd(home, _ => new SemaphoreSlim(1, 1));
        await gate.WaitAsync(cancel);
        try
        {
            var layout = Path.Combine(home, "layout");
            var config = await ConfigAsync(registry, layout, image, cancel);
            // Before its layers, which may take minutes.
            BasePlatform.Check(config, wanted);
            if (!File.Exists(Path.Combine(layout, "index.json")))
            {
                await FillAsync(registry, layout, image, cancel);
            }

            var diffIds = wanted.IsSif ? [] : DiffIds(config, wanted.Written);
            return new FetchedBase(wanted, image.Manifest.Digest, layout, info.Layers, diffIds);
        }
        finally
        {
            gate.Release();
        }
    }

    private static async Task<byte[]> ConfigAsync(
        RegistryClient registry,
        string layout,
        ResolvedImage image,
        CancellationToken cancel
    )
    {
        if (image.Manifest.Info.Config is not { Size: <= MaxConfigBytes } config)
        {
            throw new FormatException(
                $"{image.Reference} has no config of a usual size; it is not an image that can be built on"
            );
        }

        await DownloadAsync(registry, layout, image, config, cancel);
        return await File.ReadAllBytesAsync(BlobPath(layout, config.Digest), cancel);
    }

    private static async Task DownloadAsync(
        RegistryClient registry,
        string layout,
        ResolvedImage image,
        Descriptor blob,
        CancellationToken cancel
    )
    {
        var path = BlobPath(layout, blob.Digest);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (!File.Exists(path))
        {
            await registry.DownloadBlobAsync(RemoteRepository.Of(image.Reference), blob, path, cancel);
        }
    }

    private static async Task FillAsync(
        RegistryClient registry,
        string layout,
        ResolvedImage image,
        CancellationToken cancel
    )
    {
        Directory.CreateDirectory(Path.GetDirectoryName(BlobPath(layout, image.Manifest.Digest))!);
        foreach (var blob in image.Manifest.Info.Layers)
        {
            await DownloadAsync(registry, layout, image, blob, cancel);
        }

        var entry = await UsableAsync(layout, image.Manifest, cancel) with
        {
            Annotations = new Dictionary<string, string> { ["org.opencontainers.image.ref.name"] = "latest" },
        };
        await File.WriteAllTextAsync(Path.Combine(layout, "oci-layout"), """{"imageLayoutVersion":"1.0.0"}""", cancel);
        var index = JsonSerializer.SerializeToUtf8Bytes(
            new ImageIndex { Manifests = [entry] },
            NodeJson.Default.ImageIndex
        );
        var temporary = Path.Combine(layout, "index.json.new");
        await File.WriteAllBytesAsync(temporary, index, cancel);
        File.Move(temporary, Path.Combine(layout, "index.json"), overwrite: true);
    }

    // The manifest as engines can use it: the image's own, or one whose config has the history that they ask for.
    private static async Task<Descriptor> UsableAsync(string layout, RemoteManifest image, CancellationToken cancel)
    {
        var config = await File.ReadAllBytesAsync(BlobPath(layout, image.Info.Config!.Digest), cancel);
        if (BaseHistory.Mend(config) is not { } mended)
        {
            await File.WriteAllBytesAsync(BlobPath(layout, image.Digest), image.Bytes, cancel);
            return image.Descriptor;
        }

        var manifest = new ImageManifest
        {
            MediaType = image.Info.MediaType,
            Config = await WriteAsync(layout, mended, image.Info.Config.MediaType, cancel),
            Layers = image.Info.Layers,
        };
        var bytes = JsonSerializer.SerializeToUtf8Bytes(manifest, NodeJson.Default.ImageManifest);
        return await WriteAsync(layout, bytes, manifest.MediaType, cancel);
    }

    private static async Task<Descriptor> WriteAsync(
        string layout,
        byte[] bytes,
        string mediaType,
        CancellationToken cancel
    )
    {
        var digest = Digest.Of(bytes);
        Directory.CreateDirectory(Path.GetDirectoryName(BlobPath(layout, digest))!);
        await File.WriteAllBytesAsync(BlobPath(layout, digest), bytes, cancel);
        return new Descriptor
        {
            MediaType = mediaType,
            Digest = digest,
            Size = bytes.Length,
        };
    }

    private static Digest[] DiffIds(byte[] config, string written)
    {
        try
        {
            using var document = JsonDocument.Parse(config);
            return
            [
                .. document
                    .RootElement.GetProperty("rootfs")
                    .GetProperty("diff_ids")
                    .EnumerateArray()
                    .Select(d => Digest.Parse(d.GetString()!)),
            ];
        }
        catch (Exception e)
            when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new FormatException(
                $"{written} is not an image that can be built on: its config has no list of layers",
                e
            );
        }
    }

    private static string BlobPath(string layout, Digest digest) =>
        Path.Combine(layout, "blobs", digest.Algorithm, digest.Encoded);
}
