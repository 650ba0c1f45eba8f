using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Kiln.Oci;

/// <summary>
/// A platform in its short form <c>os/architecture[/variant]</c>, with Go's names (image-spec, image-index.md).
/// In JSON it is an object; a string in the short form is accepted as well.
/// </summary>
[JsonConverter(typeof(PlatformJsonConverter))]
public sealed record Platform(string Os, string Architecture, string? Variant = null)
{
    public static readonly Platform LinuxAmd64 = new("linux", "amd64");

    public override string ToString() => Variant is null ? $"{Os}/{Architecture}" : $"{Os}/{Architecture}/{Variant}";

    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out Platform? platform)
    {
        platform = null;
        var parts = text?.Split('/') ?? [];
        if (parts.Length is not (2 or 3) || parts.Any(p => p.Length is 0 or > 32 || !p.All(IsAllowed)))
        {
            return false;
        }

        platform = new Platform(parts[0], parts[1], parts.Length == 3 ? parts[2] : null);
        return true;
    }

    public static Platform Parse(string text) =>
        TryParse(text, out var platform) ? platform : throw new FormatException($"'{text}' is not a platform");

    private static bool IsAllowed(char c) =>
        char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '_' or '.' or '-';
}

public sealed class PlatformJsonConverter : JsonConverter<Platform>
{
    public override Platform Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.String)
        {
            var text = reader.GetString();
            return Platform.TryParse(text, out var parsed)
                ? parsed
                : throw new JsonException($"'{text}' is not a platform of the form os/architecture[/variant]");
        }

        using var document = JsonDocument.ParseValue(ref reader);
        var root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw new JsonException("a platform is an object or a string of the form os/architecture[/variant]");
        }

        return new Platform(Text(root, "os") ?? "", Text(root, "architecture") ?? "", Text(root, "variant"));
    }

    public override void Write(Utf8JsonWriter writer, Platform value, JsonSerializerOptions options)
    {
        writer.WriteStartObject();
        writer.WriteString("architecture", value.Architecture);
        writer.WriteString("os", value.Os);
        if (value.Variant is not null)
        {
            writer.WriteString("variant", value.Variant);
        }

        writer.WriteEndObject();
    }

    private static string? Text(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.String
        && value.GetString() is { Length: > 0 } text
            ? text
            : null;
}
