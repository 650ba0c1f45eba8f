using System.Text.Json.Serialization;
using Kiln.Node.Engines;
using Kiln.Oci;

namespace Kiln.Node;

/// <summary>Serialisation of what a node keeps on disk and reads from engines.</summary>
[JsonSerializable(typeof(Dictionary<string, PublishedLayer>))]
[JsonSerializable(typeof(ImageManifest))]
[JsonSerializable(typeof(ImageIndex))]
[JsonSerializable(typeof(SortedDictionary<string, string>))]
internal sealed partial class NodeJson : JsonSerializerContext;

/// <summary>Serialisation of what <c>kiln node --probe --json</c> prints.</summary>
[JsonSourceGenerationOptions(
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true
)]
[JsonSerializable(typeof(NodeReport))]
public sealed partial class ReportJson : JsonSerializerContext;
