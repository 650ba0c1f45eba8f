using System.Text.Json;

namespace Kiln.Client.Registry;

/// <summary>The body of <c>GET …/tags/list</c>.</summary>
internal static class TagList
{
    /// <exception cref="RegistryException">The body is not a list of tags.</exception>
    public static List<string> Read(byte[] body, string action)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            // Some registries answer null for no tags.
            return document.RootElement.TryGetProperty("tags", out var tags) && tags.ValueKind == JsonValueKind.Array
                ? [.. tags.EnumerateArray().Select(t => t.GetString() ?? "")]
                : [];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new RegistryException(RegistryFault.Broken, action, "the answer is not a list of tags", e);
        }
    }
}
