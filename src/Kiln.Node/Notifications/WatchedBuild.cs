using System.Text.Json.Serialization;
using Kiln.BuildSpec;
using Kiln.Oci;

namespace Kiln.Node.Notifications;

/// <summary>
/// What is made of a recipe that a notification led to: its targets, and what became of it. Times are milliseconds since
/// 1970.
/// </summary>
internal sealed record WatchedBuild
{
    /// <summary>Ids sort by time.</summary>
    public required string Id { get; init; }

    /// <summary>Name of the watched registry.</summary>
    public required string Registry { get; init; }
    public required string Repository { get; init; }

    /// <summary>The recipe artifact's manifest.</summary>
    public required Descriptor Recipe { get; init; }

    /// <inheritdoc cref="RecipeTypes"/>
    public string RecipeType { get; init; } = "";
    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>Where the tags pointed when it was accepted; those that were not there are not in it.</summary>
    public IReadOnlyDictionary<string, Digest> Seen { get; init; } = new Dictionary<string, Digest>();

    /// <inheritdoc cref="JobRequest.TagPolicy"/>
    public string? TagPolicy { get; init; }
    public bool Partial { get; init; }
    public IReadOnlyList<WatchedTask> Tasks { get; init; } = [];

    /// <inheritdoc cref="Notification.Event"/>
    public string? Event { get; init; }
    public required long Created { get; init; }

    /// <summary>One of <see cref="BuildStates"/>.</summary>
    public string State { get; init; } = BuildStates.Queued;
    public string? Reason { get; init; }
    public string? Message { get; init; }

    /// <summary>When nothing is left to be done for it; null until then.</summary>
    public long? Finished { get; init; }

    /// <summary>The index that the tags point at.</summary>
    public Digest? Result { get; init; }

    /// <summary>How often its end could not be told to the registry, since when, and when it is tried again.</summary>
    public int Tries { get; init; }
    public long NotBefore { get; init; }

    /// <summary>Whether all of its targets are over, whatever came of them.</summary>
    [JsonIgnore]
    public bool IsBuilt => Tasks.All(task => BuildStates.IsDone(task.State));

    [JsonIgnore]
    public IEnumerable<WatchedTask> Succeeded => Tasks.Where(task => task.State == BuildStates.Succeeded);

    /// <summary>The same with one task changed.</summary>
    public WatchedBuild With(WatchedTask task) =>
        this with
        {
            Tasks = [.. Tasks.Select(t => t.Id == task.Id ? task : t)],
        };
}

/// <summary>One target of a build.</summary>
internal sealed record WatchedTask
{
    /// <summary><c>t1</c>, <c>t2</c>, … in the order of the targets.</summary>
    public required string Id { get; init; }
    public required LeaseTask Task { get; init; }
    public string? Microarchitecture { get; init; }
    public string State { get; init; } = BuildStates.Queued;
    public int Attempt { get; init; }
    public long NotBefore { get; init; }
    public long? Started { get; init; }
    public long? Finished { get; init; }
    public string? Reason { get; init; }
    public string? Message { get; init; }

    /// <summary>The image manifest, which is in the repository.</summary>
    public Descriptor? Manifest { get; init; }
    public ImageHints? Hints { get; init; }
    public IReadOnlyList<ResolvedDependency> Dependencies { get; init; } = [];
    public BuildConfinement? Confinement { get; init; }

    /// <summary>The build key.</summary>
    public string? Key { get; init; }

    /// <summary>The same, ended because the build has failed without it.</summary>
    /// <param name="at">Milliseconds since 1970.</param>
    public WatchedTask Canceled(long? at) => this with { State = BuildStates.Canceled, Finished = at };
}
