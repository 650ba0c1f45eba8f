using System.Text.Json;
using Kiln.Oci;

namespace Kiln.Client.Inspection;

/// <summary>What an image's config says, as far as it is held against the layers.</summary>
/// <param name="User">Null where it names none.</param>
/// <param name="DiffIds">Of the layers' plain tars, lowest first; an empty text for what is none.</param>
public sealed record ImageConfig(Platform Platform, string? User, IReadOnlyList<string> DiffIds)
{
    /// <summary>Bytes of a config that is read.</summary>
    public const int MaxBytes = 4 << 20;

    /// <exception cref="JsonException">It is not JSON, or a text in it is not Unicode.</exception>
    public static ImageConfig Read(ReadOnlyMemory<byte> bytes)
    {
        using var document = JsonDocument.Parse(bytes);
        var root = document.RootElement;
        try
        {
            return new ImageConfig(
                new Platform(Text(root, "os") ?? "", Text(root, "architecture") ?? "", Text(root, "variant")),
                Member(root, "config") is { } run ? Text(run, "User") : null,
                DiffIdsOf(root)
            );
        }
        catch (InvalidOperationException e)
        {
            // What the reader says of an escape such as \ud800 without its other half.
            throw new JsonException("a text in it is not valid Unicode", e);
        }
    }

    private static List<string> DiffIdsOf(JsonElement root) =>
        Member(root, "rootfs") is { } rootfs && Member(rootfs, "diff_ids") is { ValueKind: JsonValueKind.Array } diffIds
            ? [.. diffIds.EnumerateArray().Select(d => d.ValueKind == JsonValueKind.String ? d.GetString()! : "")]
            : [];

    private static string? Text(JsonElement element, string name) =>
        Member(element, name) is { ValueKind: JsonValueKind.String } value && value.GetString() is { Length: > 0 } text
            ? text
            : null;

    private static JsonElement? Member(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) ? value : null;
}
