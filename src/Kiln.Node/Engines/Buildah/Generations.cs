using System.Text.Json;
using Kiln.Node.Sandbox;

namespace Kiln.Node.Engines.Buildah;

/// <summary>
/// Which generations of a scope stand on which: a layer's parent, and what an image is made of, may be in another store. What was
/// written there was written by builds; a forged list costs its own scope its steps, and nothing else.
/// </summary>
internal static class Generations
{
    private const int MaxJson = 64 << 20;

    /// <summary>Which generations to give up so that at most <paramref name="keep"/> are left.</summary>
    /// <param name="generations">Their directories, newest first.</param>
    /// <param name="keep">How many may stay.</param>
    /// <returns>
    /// The oldest ones on which no other stands. All, where too many stand on one another: then the steps are run again once.
    /// </returns>
    public static IReadOnlyList<string> Superfluous(IReadOnlyList<string> generations, int keep)
    {
        if (generations.Count <= keep)
        {
            return [];
        }

        var kept = generations.Select(directory => Read(directory)).ToList();
        while (kept.Count > keep)
        {
            // The newest is what the next build is most like.
            var leaf = kept.FindLastIndex(one =>
                one != kept[0] && !kept.Exists(other => other != one && other.StandsOn(one))
            );
            if (leaf < 0)
            {
                return generations;
            }

            kept.RemoveAt(leaf);
        }

        return [.. generations.Except(kept.Select(one => one.Directory), StringComparer.Ordinal)];
    }

    private static Generation Read(string directory)
    {
        var store = new UntrustedTree(directory);
        var layers = new HashSet<string>(StringComparer.Ordinal);
        var needs = new HashSet<string>(StringComparer.Ordinal);
        foreach (var layer in Objects(store.Read(MaxJson, "store", "overlay-layers", "layers.json")))
        {
            Add(layers, layer, "id");
            Add(needs, layer, "parent");
        }

        foreach (var image in Objects(store.Read(MaxJson, "store", "overlay-images", "images.json")))
        {
            Add(needs, image, "layer");
        }

        needs.ExceptWith(layers);
        return new Generation(directory, layers, needs);
    }

    private static IEnumerable<JsonElement> Objects(byte[]? json)
    {
        if (json is null)
        {
            return [];
        }

        try
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.ValueKind == JsonValueKind.Array
                ? [.. document.RootElement.Clone().EnumerateArray().Where(e => e.ValueKind == JsonValueKind.Object)]
                : [];
        }
        catch (JsonException)
        {
            return [];
        }
    }

    private static void Add(HashSet<string> set, JsonElement element, string member)
    {
        if (
            element.TryGetProperty(member, out var value)
            && value.ValueKind == JsonValueKind.String
            && value.GetString() is { Length: > 0 } text
        )
        {
            set.Add(text);
        }
    }

    private sealed record Generation(string Directory, HashSet<string> Layers, HashSet<string> Needs)
    {
        public bool StandsOn(Generation other) => Needs.Overlaps(other.Layers);
    }
}
