using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Client.Copying;
using Kiln.Client.Registry;
using Kiln.Oci;

namespace Kiln.Client.Archives;

/// <summary>
/// A directory that becomes an OCI image layout, or already is one: what is there is not written again. The index is
/// written last (<see cref="FinishAsync"/>), in an order that depends on nothing but what is in it.
/// </summary>
public sealed class OciLayoutTarget : IContentTarget
{
    private readonly string _root;

    // By tag, or by digest for what has none.
    private readonly SortedDictionary<string, Descriptor> _entries = new(StringComparer.Ordinal);

    private OciLayoutTarget(string root) => _root = root;

    /// <summary>Opens or makes a layout.</summary>
    /// <exception cref="InvalidDataException">There is something else in the directory.</exception>
    public static async Task<OciLayoutTarget> OpenAsync(string root, CancellationToken cancel)
    {
        var target = new OciLayoutTarget(root);
        Directory.CreateDirectory(root);
        if (File.Exists(Path.Combine(root, OciLayout.IndexFile)))
        {
            using var files = await ArchiveFiles.OpenAsync(root, cancel);
            foreach (var image in (await OciLayout.ReadAsync(files, cancel)).Images)
            {
                target._entries[image.Name ?? image.Manifest.Digest.ToString()] = image.Manifest;
            }
        }
        else if (
            Directory.EnumerateFileSystemEntries(root).Any(e => Path.GetFileName(e) is not ("blobs" or "oci-layout"))
        )
        {
            throw new InvalidDataException(
                $"{root} has something else in it than an OCI image layout; name a directory that is empty or not there"
            );
        }

        await File.WriteAllBytesAsync(
            Path.Combine(root, OciLayout.VersionFile),
            """{"imageLayoutVersion":"1.0.0"}"""u8.ToArray(),
            cancel
        );
        return target;
    }

    public Task<bool> HasManifestAsync(Digest digest, CancellationToken cancel) =>
        Task.FromResult(File.Exists(PathOf(digest)));

    public async Task<bool> PutBlobAsync(
        Descriptor blob,
        Func<CancellationToken, Task<Stream>> open,
        CancellationToken cancel
    )
    {
        var path = PathOf(blob.Digest);
        if (new FileInfo(path) is { Exists: true } file && file.Length == blob.Size)
        {
            return false;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var temporary = Path.Combine(_root, "blobs", $".{Guid.NewGuid():n}.part");
        try
        {
            await using (var stream = new VerifiedStream(await open(cancel), blob, "what was to be exported"))
            await using (var target = File.Create(temporary))
            {
                await stream.CopyToAsync(target, 1 << 18, cancel);
            }

            File.Move(temporary, path, overwrite: true);
            return true;
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    public async Task PutManifestAsync(RemoteManifest manifest, CancellationToken cancel)
    {
        await PutBlobAsync(
            manifest.Descriptor,
            _ => Task.FromResult<Stream>(new MemoryStream(manifest.Bytes.ToArray())),
            cancel
        );
        if (manifest.Info.Subject is not null)
        {
            // Whoever reads the layout finds referrers among the index's entries.
            List(manifest, manifest.Digest.ToString());
        }
    }

    public Task TagAsync(RemoteManifest manifest, Tag tag, CancellationToken cancel)
    {
        List(manifest, tag.Value);
        return Task.CompletedTask;
    }

    /// <summary>Lists a manifest that has no tag.</summary>
    public void Keep(RemoteManifest manifest) => List(manifest, manifest.Digest.ToString());

    /// <summary>Writes the index.</summary>
    public async Task FinishAsync(CancellationToken cancel)
    {
        var manifests = new JsonArray();
        foreach (var (key, descriptor) in _entries)
        {
            var annotations = new SortedDictionary<string, string>(
                descriptor.Annotations?.ToDictionary() ?? [],
                StringComparer.Ordinal
            );
            annotations.Remove(OciLayout.RefName);
            if (!Digest.TryParse(key, out _))
            {
                annotations[OciLayout.RefName] = key;
            }

            var entry = descriptor with { Annotations = annotations.Count > 0 ? annotations : null };
            manifests.Add(JsonSerializer.SerializeToNode(entry, OciJson.Default.Descriptor));
        }

        var index = new JsonObject
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = MediaTypes.OciIndex,
            ["manifests"] = manifests,
        };
        var path = Path.Combine(_root, OciLayout.IndexFile);
        await File.WriteAllTextAsync(path + ".new", index.ToJsonString(), cancel);
        File.Move(path + ".new", path, overwrite: true);
    }

    /// <summary>Packs a layout into a tar that depends on nothing but what is in it.</summary>
    public static Task PackAsync(string root, string path, CancellationToken cancel) =>
        TarPacking.WriteAsync(path, TarPacking.FilesOf(root), cancel);

    private void List(RemoteManifest manifest, string key) =>
        _entries[key] = manifest.Descriptor with
        {
            ArtifactType = manifest.Info.Subject is null ? null : manifest.Info.EffectiveArtifactType,
        };

    private string PathOf(Digest digest) => Path.Combine(_root, OciLayout.BlobPath(digest));
}
