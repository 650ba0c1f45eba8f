using System.Text.Json;
using System.Text.Json.Nodes;

namespace Kiln.Conformance.Wire;

/// <summary>Members of JSON that have to be there and of their kind; otherwise the check fails.</summary>
internal static class Json
{
    public static JsonNode Member(this JsonNode? node, string name) =>
        (node as JsonObject)?[name] ?? throw new CheckFailedException($"the member '{name}' is missing");

    public static string Text(this JsonNode? node, string name) =>
        node.Member(name) is JsonValue value && value.GetValueKind() == JsonValueKind.String
            ? value.GetValue<string>()
            : throw new CheckFailedException($"'{name}' is no string: {Short(node)}");

    public static long Number(this JsonNode? node, string name) =>
        node.Member(name) is JsonValue value
        && value.GetValueKind() == JsonValueKind.Number
        && value.TryGetValue<long>(out var number)
            ? number
            : throw new CheckFailedException($"'{name}' is no whole number: {Short(node)}");

    public static bool Flag(this JsonNode? node, string name) =>
        node.Member(name).GetValueKind() switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw new CheckFailedException($"'{name}' is neither true nor false: {Short(node)}"),
        };

    public static IReadOnlyList<JsonNode?> Items(this JsonNode? node, string name) =>
        node.Member(name) is JsonArray items
            ? [.. items]
            : throw new CheckFailedException($"'{name}' is no list: {Short(node)}");

    /// <summary>The first item of a list.</summary>
    public static JsonNode First(this JsonNode? node, string name) =>
        node.Items(name) is [{ } first, ..] ? first : throw new CheckFailedException($"'{name}' has no first item");

    public static IReadOnlyList<string> Texts(this JsonNode? node, string name) =>
        [
            .. node.Items(name)
                .Select(item =>
                    item is JsonValue value && value.GetValueKind() == JsonValueKind.String
                        ? value.GetValue<string>()
                        : throw new CheckFailedException($"'{name}' has an item that is no string")
                ),
        ];

    /// <summary>A string that may be missing.</summary>
    public static string? MaybeText(this JsonNode? node, string name) =>
        (node as JsonObject)?[name] is null ? null : node.Text(name);

    /// <summary>Fails where a member has to have another value.</summary>
    public static void MustHave(this JsonNode? node, string name, string expected)
    {
        var value = node.Text(name);
        if (value != expected)
        {
            throw new CheckFailedException($"'{name}' is '{value}', not '{expected}'");
        }
    }

    /// <summary>The path of a member that is null, anywhere; null where there is none.</summary>
    public static string? NullIn(JsonNode? node, string path = "") =>
        node switch
        {
            null => path,
            JsonObject members => members
                .Select(member => NullIn(member.Value, $"{path}/{member.Key}"))
                .FirstOrDefault(found => found is not null),
            JsonArray items => items
                .Select((item, i) => NullIn(item, $"{path}/{i}"))
                .FirstOrDefault(found => found is not null),
            _ => null,
        };

    public static JsonArray ArrayOf(params IEnumerable<JsonNode?> items) => new([.. items]);

    public static byte[] Bytes(this JsonNode node) => System.Text.Encoding.UTF8.GetBytes(node.ToJsonString());

    private static string Short(JsonNode? node)
    {
        var text = node?.ToJsonString() ?? "null";
        return text.Length <= 200 ? text : text[..200] + "…";
    }
}
