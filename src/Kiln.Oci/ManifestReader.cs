using System.Text.Json;
using System.Text.Unicode;

namespace Kiln.Oci;

/// <summary>What a registry needs to know of a manifest. The bytes themselves are kept as they came.</summary>
public sealed record ManifestInfo
{
    public required string MediaType { get; init; }
    public string? ArtifactType { get; init; }
    public Descriptor? Config { get; init; }

    /// <summary>Layers of an image manifest; empty for an index.</summary>
    public IReadOnlyList<Descriptor> Layers { get; init; } = [];

    /// <summary>Bytes of all layers together; where a number cannot hold what is claimed, the largest that there is.</summary>
    public long LayerBytes =>
        Layers.Aggregate(0L, (sum, layer) => layer.Size > long.MaxValue - sum ? long.MaxValue : sum + layer.Size);

    /// <summary>Children of an index; empty for an image manifest.</summary>
    public IReadOnlyList<Descriptor> Manifests { get; init; } = [];
    public Descriptor? Subject { get; init; }
    public IReadOnlyDictionary<string, string>? Annotations { get; init; }

    /// <summary>
    /// The artifact type that the referrers API reports: the manifest's own, else the config's media type for an image
    /// manifest, else none (distribution-spec, "Listing Referrers").
    /// </summary>
    public string? EffectiveArtifactType => ArtifactType ?? (MediaTypes.IsIndex(MediaType) ? null : Config?.MediaType);
}

/// <summary>
/// The one reader of manifests. Unknown members are ignored; broken ones are named. What two readers could take for two
/// different manifests is refused: members that come twice, text that is not UTF-8.
/// </summary>
public static class ManifestReader
{
    /// <summary>JSON values and names that a manifest may have; each costs memory while it is read.</summary>
    public const int MaxTokens = 1 << 19;

    private const int MaxDepth = 64;

    /// <summary>Reads a manifest that was declared as <paramref name="contentType"/> (may be null).</summary>
    /// <returns>The manifest, or in <paramref name="fault"/> a sentence that says what is wrong with it.</returns>
    public static ManifestInfo? Read(ReadOnlyMemory<byte> bytes, string? contentType, out string? fault)
    {
        if (!Utf8.IsValid(bytes.Span))
        {
            fault = "the manifest is not valid UTF-8";
            return null;
        }

        try
        {
            if (HasTooManyTokens(bytes.Span))
            {
                fault = $"the manifest has more than {MaxTokens} JSON values";
                return null;
            }

            var options = new JsonDocumentOptions { MaxDepth = MaxDepth, AllowDuplicateProperties = false };
            using var document = JsonDocument.Parse(bytes, options);
            return Read(document.RootElement, contentType, out fault);
        }
        catch (JsonException e)
        {
            fault = $"the manifest is not valid JSON: {e.Message}";
            return null;
        }
        catch (InvalidOperationException)
        {
            // What the reader says of an escape such as \ud800 without its other half.
            fault = "the manifest has a text that is not valid Unicode";
            return null;
        }
    }

    private static bool HasTooManyTokens(ReadOnlySpan<byte> bytes)
    {
        // No token is shorter than a byte.
        if (bytes.Length <= MaxTokens)
        {
            return false;
        }

        var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { MaxDepth = MaxDepth });
        for (var count = 0; reader.Read(); count++)
        {
            if (count == MaxTokens)
            {
                return true;
            }
        }

        return false;
    }

    private static ManifestInfo? Read(JsonElement root, string? contentType, out string? fault)
    {
        if (root.ValueKind != JsonValueKind.Object)
        {
            fault = "the manifest is not a JSON object";
            return null;
        }

        if (
            !root.TryGetProperty("schemaVersion", out var version)
            || !version.TryGetInt32Safe(out var number)
            || number != 2
        )
        {
            fault = "schemaVersion is not 2; Docker schema 1 manifests are not supported";
            return null;
        }

        var declared = Text(root, "mediaType");
        if (declared is not null && contentType is not null && declared != contentType)
        {
            fault = $"the manifest says mediaType '{declared}' but was sent as Content-Type '{contentType}'";
            return null;
        }

        var mediaType = declared ?? contentType ?? Guess(root);
        if (!MediaTypes.IsIndex(mediaType) && !MediaTypes.IsImageManifest(mediaType))
        {
            fault = $"the media type '{mediaType}' is not one of a manifest or an index";
            return null;
        }

        return ReadBody(root, mediaType, out fault);
    }

    private static ManifestInfo? ReadBody(JsonElement root, string mediaType, out string? fault)
    {
        try
        {
            var index = MediaTypes.IsIndex(mediaType);
            fault = null;
            var info = new ManifestInfo
            {
                MediaType = mediaType,
                ArtifactType = Text(root, "artifactType"),
                Config = index ? null : One(root, "config"),
                Layers = index ? [] : Many(root, "layers"),
                Manifests = index ? Many(root, "manifests") : [],
                Subject = One(root, "subject"),
                Annotations = root.TryGetProperty("annotations", out var annotations)
                    ? annotations.Deserialize(OciJson.Default.IReadOnlyDictionaryStringString)
                    : null,
            };
            if (!index && info.Config is null)
            {
                fault = "an image manifest needs a config descriptor";
                return null;
            }

            return info;
        }
        catch (JsonException e)
        {
            fault = $"a descriptor of the manifest is broken: {e.Message}";
            return null;
        }
    }

    private static string Guess(JsonElement root) =>
        root.TryGetProperty("manifests", out _) ? MediaTypes.OciIndex : MediaTypes.OciManifest;

    // Go's encoders leave an empty text out, and so mean the same by it.
    private static string? Text(JsonElement root, string name) =>
        !root.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null ? null
        : value.ValueKind != JsonValueKind.String ? throw new JsonException($"'{name}' is not a text")
        : value.GetString() is { Length: > 0 } text ? text
        : null;

    private static Descriptor? One(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null
            ? Checked(value.Deserialize(OciJson.Default.Descriptor), name)
            : null;

    private static Descriptor[] Many(JsonElement root, string name)
    {
        if (!root.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return [];
        }

        return value.ValueKind == JsonValueKind.Array
            ? [.. value.EnumerateArray().Select(e => Checked(e.Deserialize(OciJson.Default.Descriptor), name)!)]
            : throw new JsonException($"'{name}' is not an array");
    }

    private static Descriptor? Checked(Descriptor? descriptor, string name) =>
        descriptor switch
        {
            null => throw new JsonException($"'{name}' has a null descriptor"),
            { Size: < 0 } => throw new JsonException($"'{name}' has a descriptor with a negative size"),
            _ => descriptor,
        };

    private static bool TryGetInt32Safe(this JsonElement element, out int value)
    {
        value = 0;
        return element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out value);
    }
}
