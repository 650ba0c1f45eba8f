using System.Text.Json;
using System.Text.Json.Serialization;

namespace Kiln.Oci;

/// <summary>Serialisation of the specs' words, generated at compile time.</summary>
[JsonSourceGenerationOptions(
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase
)]
[JsonSerializable(typeof(Descriptor))]
[JsonSerializable(typeof(ImageManifest))]
[JsonSerializable(typeof(ImageIndex))]
[JsonSerializable(typeof(ErrorEnvelope))]
[JsonSerializable(typeof(TagList))]
[JsonSerializable(typeof(RepositoryList))]
[JsonSerializable(typeof(IReadOnlyDictionary<string, string>))]
public sealed partial class OciJson : JsonSerializerContext;
