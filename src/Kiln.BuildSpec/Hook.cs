namespace Kiln.BuildSpec;

/// <summary>Someone who is told what becomes of a repository's jobs (build-extension, "Hooks").</summary>
public sealed record Hook
{
    public string? Id { get; init; }

    /// <summary>Where events are posted to.</summary>
    public required string Url { get; init; }

    /// <summary>Of <see cref="HookEvents"/>; left out: <c>job.queued</c>.</summary>
    public IReadOnlyList<string>? Events { get; init; }

    /// <summary>Jobs that it is about; left out: all.</summary>
    public HookFilter? Filter { get; init; }

    /// <summary>
    /// <c>whsec_</c> and base64 of 24 to 64 bytes. It is only ever told in the answer that made it, where the request had none.
    /// </summary>
    public string? Secret { get; init; }

    /// <summary>False where the receiver has said that it wants nothing any more (410).</summary>
    public bool? Active { get; init; }

    /// <summary>What the last failure was; absent where nothing fails.</summary>
    public string? Error { get; init; }
    public string? CreatedBy { get; init; }
    public DateTimeOffset? Created { get; init; }
}

/// <summary>A job is meant where one of its tasks fits in all that is there.</summary>
public sealed record HookFilter
{
    /// <summary><c>os/architecture[/variant]</c>.</summary>
    public IReadOnlyList<string>? Platforms { get; init; }

    /// <summary>Kinds of recipes.</summary>
    public IReadOnlyList<string>? Recipes { get; init; }
}

/// <summary>The hooks of a repository.</summary>
public sealed record HookList
{
    public required IReadOnlyList<Hook> Hooks { get; init; }
}

/// <summary>What a hook can be told.</summary>
public static class HookEvents
{
    public const string JobPrefix = "job.";
    public const string Queued = JobPrefix + BuildStates.Queued;

    /// <summary>Sent when somebody asks for it, to whoever is registered.</summary>
    public const string Ping = "ping";

    /// <summary>Followed by an event and a version, the type of a CloudEvent.</summary>
    public const string TypePrefix = "org.supercontainers.build.";

    /// <summary>Those that a hook may ask for.</summary>
    public static IReadOnlyList<string> All { get; } =
    [
        Queued,
        JobPrefix + BuildStates.Running,
        JobPrefix + BuildStates.Succeeded,
        JobPrefix + BuildStates.Failed,
        JobPrefix + BuildStates.Canceled,
    ];
}
