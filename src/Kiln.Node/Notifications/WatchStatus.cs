using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>What a watching node is at, for <c>GET /status</c>.</summary>
internal sealed record WatchStatus
{
    /// <summary>Why nothing can be built; null where something can.</summary>
    public string? Unavailable { get; init; }

    /// <summary>Notifications that wait to be looked at.</summary>
    public required IReadOnlyList<WaitingStatus> Waiting { get; init; }

    /// <summary>Newest first.</summary>
    public required IReadOnlyList<BuildStatus> Builds { get; init; }

    public static WatchStatus Of(NodeAbilities abilities, IEnumerable<Wish> wishes, IEnumerable<WatchedBuild> builds) =>
        new()
        {
            Unavailable = abilities.Unavailable,
            Waiting =
            [
                .. wishes.Select(w => new WaitingStatus
                {
                    Registry = w.Registry,
                    Repository = w.Repository,
                    Reference = w.Tag ?? w.Digest?.ToString() ?? "",
                    Received = Time(w.Received),
                    Tries = w.Tries,
                    NotBefore = w.NotBefore == 0 ? null : Time(w.NotBefore),
                }),
            ],
            Builds = [.. builds.Reverse().Select(Of)],
        };

    private static BuildStatus Of(WatchedBuild build) =>
        new()
        {
            Id = build.Id,
            Registry = build.Registry,
            Repository = build.Repository,
            Recipe = build.Recipe.Digest,
            Tags = build.Tags,
            State = build.State,
            Reason = build.Reason,
            Message = build.Message ?? build.Tasks.LastOrDefault(t => t.Message is not null)?.Message,
            Result = build.Result,
            Created = Time(build.Created),
            Finished = build.Finished is { } finished ? Time(finished) : null,
            Tasks =
            [
                .. build.Tasks.Select(t => new TargetStatus
                {
                    Id = t.Id,
                    Platform = t.Task.Platform.ToString(),
                    State = t.State,
                    Attempt = t.Attempt,
                    Manifest = t.Manifest?.Digest,
                    Hints = t.Hints,
                }),
            ],
        };

    private static DateTimeOffset Time(long milliseconds) => DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);
}

internal sealed record WaitingStatus
{
    public required string Registry { get; init; }
    public required string Repository { get; init; }
    public required string Reference { get; init; }
    public required DateTimeOffset Received { get; init; }
    public int Tries { get; init; }
    public DateTimeOffset? NotBefore { get; init; }
}

internal sealed record BuildStatus
{
    public required string Id { get; init; }
    public required string Registry { get; init; }
    public required string Repository { get; init; }
    public required Digest Recipe { get; init; }
    public required IReadOnlyList<string> Tags { get; init; }
    public required string State { get; init; }
    public string? Reason { get; init; }
    public string? Message { get; init; }
    public Digest? Result { get; init; }
    public required DateTimeOffset Created { get; init; }
    public DateTimeOffset? Finished { get; init; }
    public required IReadOnlyList<TargetStatus> Tasks { get; init; }
}

internal sealed record TargetStatus
{
    public required string Id { get; init; }
    public required string Platform { get; init; }
    public required string State { get; init; }
    public int Attempt { get; init; }
    public Digest? Manifest { get; init; }
    public ImageHints? Hints { get; init; }
}
