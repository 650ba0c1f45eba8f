using Kiln.Inspect;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// What is in layers, read once for each while they are used: most images stand on few bases.
/// <code>
/// facts/HEX     packed facts; the name is the layer's digest      facts/HEX.diff    the digest of its plain tar
/// </code>
/// </summary>
/// <param name="bases">The node's base images, in which layers lie as files.</param>
internal sealed class LayerShelf(NotificationOptions options, string bases)
{
    /// <summary>Layers that are remembered; the oldest go.</summary>
    private const int MaxKept = 512;
    private readonly string _folder = Directory.CreateDirectory(Path.Combine(options.Directory, "facts")).FullName;

    /// <summary>Reads a layer that lies in a file, and remembers it; what is no layer has neither facts nor a diff ID.</summary>
    public async Task<(LayerFacts? Facts, Digest? DiffId)> ReadAsync(
        Digest layer,
        string path,
        CancellationToken cancel
    )
    {
        await using var file = File.OpenRead(path);
        var (facts, diffId, _) = await LayerFacts.ReadAsync(file, cancel);
        if (facts is not null && diffId is not null)
        {
            Keep(layer, facts, diffId);
        }

        return (facts, diffId);
    }

    /// <summary>What is known of a layer, or can be read in a base image; null where it has to come from elsewhere.</summary>
    public async Task<(LayerFacts? Facts, Digest? DiffId)?> FindAsync(Digest layer, CancellationToken cancel)
    {
        if (Kept(layer) is { } kept)
        {
            return kept;
        }

        var inBase = Directory
            .EnumerateDirectories(bases)
            .Select(home => Path.Combine(home, "layout", "blobs", layer.Algorithm, layer.Encoded))
            .FirstOrDefault(File.Exists);
        return inBase is null ? null : await ReadAsync(layer, inBase, cancel);
    }

    private (LayerFacts? Facts, Digest? DiffId)? Kept(Digest layer)
    {
        var path = PathOf(layer);
        try
        {
            if (!File.Exists(path) || !Digest.TryParse(File.ReadAllText(path + ".diff"), out var diffId))
            {
                return null;
            }

            return LayerFacts.Unpack(File.ReadAllBytes(path)) is { } facts ? (facts, diffId) : null;
        }
        catch (Exception e) when (e is IOException or InvalidDataException or System.Text.Json.JsonException)
        {
            // It is read anew; a node that died may have left half of it.
            return null;
        }
    }

    private void Keep(Digest layer, LayerFacts facts, Digest diffId)
    {
        var path = PathOf(layer);
        var temporary = $"{path}.{Guid.NewGuid():n}";
        File.WriteAllText(path + ".diff", diffId.ToString());
        File.WriteAllBytes(temporary, facts.Pack());
        File.Move(temporary, path, overwrite: true);
        foreach (
            var old in new DirectoryInfo(_folder)
                .EnumerateFiles()
                .Where(file => !file.Name.Contains('.', StringComparison.Ordinal))
                .OrderByDescending(file => file.LastWriteTimeUtc)
                .Skip(MaxKept)
        )
        {
            old.Delete();
            File.Delete(old.FullName + ".diff");
        }
    }

    private string PathOf(Digest layer) => Path.Combine(_folder, $"{layer.Algorithm}-{layer.Encoded}");
}
