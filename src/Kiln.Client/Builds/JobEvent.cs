using System.Text.Json.Serialization;
using Kiln.BuildSpec;

namespace Kiln.Client.Builds;

/// <summary>Something that happened to a task, as its event stream tells it (build-extension, "Reading logs").</summary>
public abstract record JobEvent;

/// <summary>New log text. <see cref="Offset"/> is the byte offset in the log after it.</summary>
public sealed record LogEvent(string Text, long Offset) : JobEvent;

/// <summary>A new state, phase or step.</summary>
public sealed record StateEvent(TaskProgress Progress) : JobEvent;

/// <summary>What a task is doing: the data of a <c>state</c> event.</summary>
public sealed record TaskProgress
{
    public required string State { get; init; }
    public required bool Done { get; init; }
    public string? Phase { get; init; }
    public string? Progress { get; init; }
    public IReadOnlyList<BuildStep>? Steps { get; init; }
}

/// <summary>The data of a <c>log</c> event.</summary>
internal sealed record LogText
{
    public required string Text { get; init; }
}

/// <summary>Serialisation of the event stream's data, generated at compile time.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull
)]
[JsonSerializable(typeof(TaskProgress))]
[JsonSerializable(typeof(LogText))]
internal sealed partial class EventJson : JsonSerializerContext;
