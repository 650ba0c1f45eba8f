using System.Text.Json;
using System.Text.Json.Serialization;
using Kiln.Client.Registry;
using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Client.Archives;

/// <summary>
/// What <c>docker save</c> wrote, to copy from. It has no manifests, so that they are made: OCI manifests over the config and
/// the layers as they are, so that the same archive always gives the same digests.
/// </summary>
public sealed class DockerArchive : IImageArchive
{
    public const string ListFile = "manifest.json";

    private const int MaxListBytes = 8 << 20;
    private const int MaxImages = 10_000;
    private const int MaxLayers = 1000;

    private readonly ArchiveFiles _files;
    private readonly Dictionary<string, Descriptor> _layers = new(StringComparer.Ordinal);
    private readonly Dictionary<Digest, string> _names = [];
    private readonly Dictionary<Digest, RemoteManifest> _manifests = [];
    private readonly List<ArchivedImage> _images = [];

    private DockerArchive(ArchiveFiles files) => _files = files;

    public IReadOnlyList<ArchivedImage> Images => _images;

    internal static async Task<DockerArchive> ReadAsync(ArchiveFiles files, CancellationToken cancel)
    {
        var archive = new DockerArchive(files);
        var list = await archive.JsonAsync(ListFile, ArchiveJson.Default.IReadOnlyListDockerImage, cancel);
        if (list.Count is 0 or > MaxImages)
        {
            throw files.Wrong($"{ListFile} lists {list.Count} images");
        }

        foreach (var image in list)
        {
            await archive.AddAsync(image, cancel);
        }

        return archive;
    }

    public Task<RemoteManifest> GetManifestAsync(Digest digest, CancellationToken cancel) =>
        _manifests.TryGetValue(digest, out var manifest)
            ? Task.FromResult(manifest)
            : throw new RegistryException(
                RegistryFault.NotFound,
                $"reading the manifest {digest} of {_files.Name}",
                "it is not there"
            );

    public Task<Stream> OpenBlobAsync(Descriptor blob, CancellationToken cancel) =>
        _names.TryGetValue(blob.Digest, out var name) && _files.Open(name) is { } stream
            ? Task.FromResult<Stream>(new VerifiedStream(stream, blob, _files.Name))
            : throw new RegistryException(
                RegistryFault.NotFound,
                $"reading {blob.Digest} of {_files.Name}",
                "it is not there"
            );

    public Task<IReadOnlyList<Descriptor>> ListReferrersAsync(Digest subject, CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<Descriptor>>([]);

    private async Task AddAsync(DockerImage image, CancellationToken cancel)
    {
        if (image.Config is null || image.Layers is not { Count: <= MaxLayers } layers)
        {
            throw _files.Wrong($"{ListFile} has an image without a config, or with more than {MaxLayers} layers");
        }

        var config = await JsonAsync(image.Config, ArchiveJson.Default.DockerConfig, cancel);
        var diffs = config.RootFs?.DiffIds ?? [];
        if (diffs.Count != layers.Count)
        {
            throw _files.Wrong($"{image.Config} names {diffs.Count} layers and {ListFile} {layers.Count}");
        }

        var described = new List<Descriptor>();
        for (var i = 0; i < layers.Count; i++)
        {
            described.Add(await LayerAsync(layers[i], diffs[i], cancel));
        }

        var bytes = (await _files.ReadAsync(image.Config, MaxListBytes, cancel))!;
        var configBlob = new Descriptor
        {
            MediaType = MediaTypes.OciConfig,
            Digest = Digest.Of(bytes),
            Size = bytes.Length,
        };
        _names[configBlob.Digest] = image.Config;
        var manifest = JsonSerializer.SerializeToUtf8Bytes(
            new ImageManifest { Config = configBlob, Layers = described },
            OciJson.Default.ImageManifest
        );
        var made = new RemoteManifest(Digest.Of(manifest), manifest, ManifestReader.Read(manifest, null, out _)!);
        _manifests[made.Digest] = made;
        var names = image.RepoTags is { Count: > 0 } tags ? tags : [null];
        _images.AddRange(names.Select(name => new ArchivedImage(name, made.Descriptor)));
    }

    // Hashed as it is and as a plain tar: the config says what that one has to be.
    private async Task<Descriptor> LayerAsync(string name, Digest diff, CancellationToken cancel)
    {
        if (!_layers.TryGetValue(name, out var layer))
        {
            layer = await DescribeAsync(name, cancel);
            _layers[name] = layer;
            _names[layer.Digest] = name;
        }

        var plain = layer.MediaType == MediaTypes.OciLayerTar ? layer.Digest : await PlainAsync(name, diff, cancel);
        return plain == diff
            ? layer
            : throw _files.Wrong($"the layer {name} has the digest {plain}, and its config says {diff}");
    }

    private async Task<Descriptor> DescribeAsync(string name, CancellationToken cancel)
    {
        await using var stream = _files.Open(name) ?? throw _files.Wrong($"the layer {name} is not there");
        using var hash = Digest.Start(Digest.Sha256);
        var buffer = new byte[1 << 17];
        var (size, gzip) = (0L, false);
        for (int read; (read = await stream.ReadAsync(buffer, cancel)) > 0; size += read)
        {
            gzip |= size == 0 && buffer.AsSpan(0, read) is [0x1f, 0x8b, ..];
            hash.AppendData(buffer, 0, read);
        }

        return new Descriptor
        {
            MediaType = gzip ? MediaTypes.OciLayerGzip : MediaTypes.OciLayerTar,
            Digest = Digest.Finish(Digest.Sha256, hash),
            Size = size,
        };
    }

    private async Task<Digest> PlainAsync(string name, Digest diff, CancellationToken cancel)
    {
        try
        {
            await using var plain = await LayerStream.OpenAsync(_files.Open(name)!, ArchiveFiles.MaxPlainBytes, cancel);
            return await Digest.OfAsync(plain, diff.Algorithm, cancel);
        }
        catch (Exception e) when (LayerStream.IsFault(e))
        {
            throw _files.Wrong($"the layer {name}: {e.Message}");
        }
    }

    private async Task<T> JsonAsync<T>(
        string name,
        System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type,
        CancellationToken cancel
    )
    {
        var bytes = await _files.ReadAsync(name, MaxListBytes, cancel) ?? throw _files.Wrong($"{name} is not there");
        try
        {
            return JsonSerializer.Deserialize(bytes, type) ?? throw _files.Wrong($"{name} is empty");
        }
        catch (JsonException e)
        {
            throw _files.Wrong($"{name} is not what it should be: {e.Message}");
        }
    }
}

/// <summary>An entry of <c>manifest.json</c>.</summary>
internal sealed record DockerImage(
    [property: JsonPropertyName("Config")] string? Config,
    [property: JsonPropertyName("RepoTags")] IReadOnlyList<string?>? RepoTags,
    [property: JsonPropertyName("Layers")] IReadOnlyList<string>? Layers
);

/// <summary>Of an image's config, what its layers are.</summary>
internal sealed record DockerConfig([property: JsonPropertyName("rootfs")] DockerRootFs? RootFs);

internal sealed record DockerRootFs([property: JsonPropertyName("diff_ids")] IReadOnlyList<Digest>? DiffIds);

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(IReadOnlyList<DockerImage>))]
[JsonSerializable(typeof(DockerConfig))]
internal sealed partial class ArchiveJson : JsonSerializerContext;
