using System.Text.Json;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Archives;

/// <summary>An OCI image layout (image-spec, image-layout.md) to copy from.</summary>
public sealed class OciLayout : IImageArchive
{
    public const string IndexFile = "index.json";
    public const string VersionFile = "oci-layout";

    /// <summary>The annotation with an image's tag or name.</summary>
    public const string RefName = "org.opencontainers.image.ref.name";

    private readonly ArchiveFiles _files;
    private Dictionary<Digest, List<Descriptor>>? _referrers;

    private OciLayout(ArchiveFiles files, IReadOnlyList<Descriptor> entries)
    {
        _files = files;
        Images = [.. entries.Select(entry => new ArchivedImage(entry.Annotations?.GetValueOrDefault(RefName), entry))];
    }

    public IReadOnlyList<ArchivedImage> Images { get; }

    /// <summary>Where a blob is in a layout.</summary>
    public static string BlobPath(Digest digest) => $"blobs/{digest.Algorithm}/{digest.Encoded}";

    internal static async Task<OciLayout> ReadAsync(ArchiveFiles files, CancellationToken cancel)
    {
        if (await files.ReadAsync(VersionFile, 1 << 16, cancel) is { } version && !IsKnown(version))
        {
            throw files.Wrong($"its {VersionFile} file names no version 1.x of the format");
        }

        var bytes = await files.ReadAsync(IndexFile, RegistryClient.MaxManifestBytes, cancel) ?? [];
        var index =
            ManifestReader.Read(bytes, MediaTypes.OciIndex, out var fault)
            ?? throw files.Wrong($"{IndexFile}: {fault}");
        var entries = index
            .Manifests.Where(m => MediaTypes.IsIndex(m.MediaType) || MediaTypes.IsImageManifest(m.MediaType))
            .ToList();
        return entries.Count > 0 ? new OciLayout(files, entries) : throw files.Wrong($"{IndexFile} lists no image");
    }

    public async Task<RemoteManifest> GetManifestAsync(Digest digest, CancellationToken cancel)
    {
        var action = $"reading the manifest {digest} of {_files.Name}";
        var bytes =
            await _files.ReadAsync(BlobPath(digest), RegistryClient.MaxManifestBytes, cancel)
            ?? throw new RegistryException(RegistryFault.NotFound, action, "it is not there");
        if (Digest.Of(bytes, digest.Algorithm) != digest)
        {
            throw new RegistryException(RegistryFault.Broken, action, "its bytes have another digest");
        }

        var info =
            ManifestReader.Read(bytes, null, out var fault)
            ?? throw new RegistryException(RegistryFault.Broken, action, fault ?? "it cannot be read");
        return new RemoteManifest(digest, bytes, info);
    }

    public Task<Stream> OpenBlobAsync(Descriptor blob, CancellationToken cancel)
    {
        var name = BlobPath(blob.Digest);
        var action = $"reading {blob.Digest} of {_files.Name}";
        return _files.Size(name) switch
        {
            null => throw new RegistryException(RegistryFault.NotFound, action, "it is not there"),
            var size when size != blob.Size => throw new RegistryException(
                RegistryFault.Broken,
                action,
                $"it has {size} bytes where {blob.Size} were promised"
            ),
            _ => Task.FromResult<Stream>(new VerifiedStream(_files.Open(name)!, blob, _files.Name)),
        };
    }

    public async Task<IReadOnlyList<Descriptor>> ListReferrersAsync(Digest subject, CancellationToken cancel)
    {
        if (_referrers is null)
        {
            // A layout has no list of them: they are entries of the index like all others.
            var all = new Dictionary<Digest, List<Descriptor>>();
            foreach (var image in Images.DistinctBy(image => image.Manifest.Digest))
            {
                var manifest = await GetManifestAsync(image.Manifest.Digest, cancel);
                if (manifest.Info.Subject is { } of)
                {
                    (all.TryGetValue(of.Digest, out var known) ? known : all[of.Digest] = []).Add(image.Manifest);
                }
            }

            _referrers = all;
        }

        return _referrers.GetValueOrDefault(subject) ?? [];
    }

    private static bool IsKnown(byte[] json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.TryGetProperty("imageLayoutVersion", out var version)
                && version.GetString() is { } text
                && text.StartsWith("1.", StringComparison.Ordinal);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return false;
        }
    }
}
