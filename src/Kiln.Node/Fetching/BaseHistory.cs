using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Kiln.Node.Fetching;

/// <summary>
/// <c>history</c> is optional in a config (image-spec, config.md), but buildah refuses to add steps to an image whose
/// history names fewer layers than it has. Such a config gets the entries that it lacks; its layers stay as they are.
/// </summary>
internal static class BaseHistory
{
    /// <summary>The config with a full history; null where it has one already, or is not a config at all.</summary>
    public static byte[]? Mend(byte[] config)
    {
        try
        {
            if (
                JsonNode.Parse(config) is not JsonObject root
                || root["rootfs"]?["diff_ids"] is not JsonArray diffIds
                || Layers(root["history"] as JsonArray) == diffIds.Count
            )
            {
                return null;
            }

            root["history"] = new JsonArray([
                .. diffIds.Select(_ => (JsonNode)new JsonObject { ["created_by"] = "(not told by the base image)" }),
            ]);
            return Encoding.UTF8.GetBytes(root.ToJsonString());
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    private static int Layers(JsonArray? history) =>
        history?.Count(h => h?["empty_layer"]?.GetValue<bool>() is not true) ?? 0;
}
