using System.Text.Json.Serialization;
using Kiln.Oci;

namespace Kiln.Node;

/// <summary>Serialisation of what a node keeps on disk and reads from engines.</summary>
[JsonSerializable(typeof(Dictionary<string, Descriptor>))]
[JsonSerializable(typeof(ImageManifest))]
[JsonSerializable(typeof(ImageIndex))]
internal sealed partial class NodeJson : JsonSerializerContext;
