using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Kiln.Oci;

namespace Kiln.Tests;

/// <summary>Content to push.</summary>
internal static class Samples
{
    private static int _count;

    /// <summary>The two bytes of the empty JSON object.</summary>
    public static readonly byte[] EmptyJson = "{}"u8.ToArray();

    /// <summary>A repository name that no other test has.</summary>
    public static string Repository() => $"test/repo-{Interlocked.Increment(ref _count)}";

    /// <summary>Random bytes.</summary>
    public static byte[] Bytes(int length) => RandomNumberGenerator.GetBytes(length);

    /// <summary>A descriptor of some bytes.</summary>
    public static JsonObject Descriptor(byte[] content, string mediaType, string algorithm = Digest.Sha256) =>
        new()
        {
            ["mediaType"] = mediaType,
            ["digest"] = Digest.Of(content, algorithm).ToString(),
            ["size"] = content.Length,
        };

    /// <summary>An image manifest with the empty config, unlike any other by its annotation.</summary>
    public static JsonObject Image(params IEnumerable<JsonNode> layers) =>
        new()
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = MediaTypes.OciManifest,
            ["config"] = Descriptor(EmptyJson, MediaTypes.OciEmpty),
            ["layers"] = new JsonArray([.. layers]),
            ["annotations"] = new JsonObject { ["test.number"] = $"{Interlocked.Increment(ref _count)}" },
        };

    /// <summary>An index.</summary>
    public static JsonObject Index(params IEnumerable<JsonNode> manifests) =>
        new()
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = MediaTypes.OciIndex,
            ["manifests"] = new JsonArray([.. manifests]),
        };

    /// <summary>An artifact that refers to a subject.</summary>
    public static JsonObject Referrer(JsonObject subject, string artifactType)
    {
        var manifest = Image(Descriptor(EmptyJson, MediaTypes.OciEmpty));
        manifest["artifactType"] = artifactType;
        manifest["subject"] = subject;
        return manifest;
    }

    public static byte[] Encode(this JsonNode node) => System.Text.Encoding.UTF8.GetBytes(node.ToJsonString());
}
