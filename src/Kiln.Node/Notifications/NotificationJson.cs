using System.Text.Json.Serialization;

namespace Kiln.Node.Notifications;

/// <summary>Serialisation of what a node keeps of notifications, and tells of them.</summary>
[JsonSourceGenerationOptions(
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true
)]
[JsonSerializable(typeof(Wish))]
[JsonSerializable(typeof(WatchedBuild))]
[JsonSerializable(typeof(WatchStatus))]
internal sealed partial class NotificationJson : JsonSerializerContext;
