namespace Kiln.Server;

/// <summary>Garbage collection: what nothing refers to any more leaves, while the server serves (docs/guide/storage.md).</summary>
public sealed record CollectionOptions
{
    /// <summary>Whether the server collects by itself; <c>kiln gc</c> works either way.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary>From the beginning of one collection to that of the next.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromHours(1);

    /// <summary>How long a server is up before it may begin one.</summary>
    public TimeSpan FirstAfter { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// How long a blob that no manifest of its repository refers to stays visible there, since a push brings blobs first:
    /// longer than the longest push. Whoever is told that it is there has this long to refer to it.
    /// </summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromHours(24);

    /// <summary>How long the bytes of a blob stay that no repository sees.</summary>
    public TimeSpan BytesGrace { get; init; } = TimeSpan.FromHours(1);

    /// <summary>
    /// How long a manifest stays that no tag, index, subject or job keeps, where no retention rule says otherwise; null is
    /// for ever.
    /// </summary>
    public TimeSpan? KeepUntagged { get; init; } = TimeSpan.FromDays(30);

    /// <summary>How long a finished job stays whose image is gone, or never was; null is for ever.</summary>
    public TimeSpan? KeepJobs { get; init; } = TimeSpan.FromDays(30);

    /// <summary>Of the finished jobs of a repository, so many newest stay whatever their age.</summary>
    public int KeepNewestJobs { get; init; } = 20;

    /// <summary>How long the log of a finished build stays; null is as long as its job.</summary>
    public TimeSpan? KeepLogs { get; init; } = TimeSpan.FromDays(90);

    /// <summary>Things deleted in one transaction at most.</summary>
    public int BatchSize { get; init; } = 100;

    /// <summary>Rest between two transactions, which is what keeps a large collection from slowing pushes down.</summary>
    public TimeSpan Pause { get; init; } = TimeSpan.FromMilliseconds(50);
}
