using System.Text.Json;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Archives;

/// <summary>Writes what <c>docker load</c> reads, from images whose blobs are in a directory by their digests.</summary>
public static class DockerArchiveWriter
{
    /// <summary>Writes a tar.</summary>
    /// <param name="path">The tar.</param>
    /// <param name="root">An OCI image layout with the blobs.</param>
    /// <param name="images">Images with the names that they get, <c>NAME:TAG</c>.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="InvalidDataException">An image has something that docker does not load.</exception>
    public static Task WriteAsync(
        string path,
        string root,
        IReadOnlyList<(RemoteManifest Manifest, IReadOnlyList<string> Names)> images,
        CancellationToken cancel
    )
    {
        var files = new SortedDictionary<string, Func<Stream>>(StringComparer.Ordinal);
        var list = new List<DockerImage>();
        foreach (var (manifest, names) in images)
        {
            if (manifest.Info.Config is not { MediaType: MediaTypes.OciConfig or MediaTypes.DockerConfig } config)
            {
                throw new InvalidDataException(
                    $"{manifest.Digest} is no image that docker loads; export it with --format oci"
                );
            }

            list.Add(
                new DockerImage(
                    Add($"{config.Digest.Encoded}.json", config),
                    [.. names.Order(StringComparer.Ordinal)],
                    [.. manifest.Info.Layers.Select(layer => Add($"{layer.Digest.Encoded}.tar", layer))]
                )
            );
        }

        var json = JsonSerializer.SerializeToUtf8Bytes(list, ArchiveJson.Default.IReadOnlyListDockerImage);
        return TarPacking.WriteAsync(
            path,
            [(DockerArchive.ListFile, () => new MemoryStream(json)), .. files.Select(file => (file.Key, file.Value))],
            cancel
        );

        string Add(string name, Descriptor blob)
        {
            if (blob.MediaType.EndsWith("+zstd", StringComparison.Ordinal))
            {
                throw new InvalidDataException(
                    $"{blob.Digest} is compressed with zstd, which not every docker loads; export it with --format oci"
                );
            }

            files[name] = () => File.OpenRead(Path.Combine(root, OciLayout.BlobPath(blob.Digest)));
            return name;
        }
    }
}
