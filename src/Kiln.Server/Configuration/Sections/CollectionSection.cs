namespace Kiln.Server.Configuration.Sections;

/// <summary><c>garbage-collection</c>: when what nothing refers to leaves.</summary>
internal static class CollectionSection
{
    private const string Never = "never";

    private static readonly TimeSpan Century = TimeSpan.FromDays(36_500);

    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, CollectionOptions>(
            "garbage-collection",
            "When what nothing refers to any more leaves.",
            o => o.Collection,
            (o, v) => o with { Collection = v },
            new Field<CollectionOptions, bool>(
                "enabled",
                "Whether the server collects by itself; kiln gc works either way.",
                Kinds.Switch,
                o => o.Enabled,
                (o, v) => o with { Enabled = v }
            ),
            new Field<CollectionOptions, TimeSpan>(
                "interval",
                "From the beginning of one collection to that of the next.",
                Kinds.Duration(TimeSpan.FromSeconds(1), TimeSpan.FromDays(365)),
                o => o.Interval,
                (o, v) => o with { Interval = v }
            ),
            new Field<CollectionOptions, TimeSpan>(
                "grace",
                "How long a blob stays visible that no manifest refers to: longer than the longest push.",
                Kinds.Duration(TimeSpan.FromSeconds(1), TimeSpan.FromDays(365)),
                o => o.Grace,
                (o, v) => o with { Grace = v }
            ),
            new Field<CollectionOptions, TimeSpan>(
                "bytes-grace",
                "How long the bytes of a blob stay that no repository sees.",
                Kinds.Duration(TimeSpan.FromSeconds(1), TimeSpan.FromDays(365)),
                o => o.BytesGrace,
                (o, v) => o with { BytesGrace = v }
            ),
            new Field<CollectionOptions, TimeSpan?>(
                "keep-untagged",
                "How long a manifest stays that nothing keeps, where no retention rule says otherwise; or never, to delete none.",
                Time,
                o => o.KeepUntagged,
                (o, v) => o with { KeepUntagged = v }
            ),
            new Field<CollectionOptions, TimeSpan?>(
                "keep-jobs",
                "How long a finished job stays whose image is gone; or never, to delete none.",
                Time,
                o => o.KeepJobs,
                (o, v) => o with { KeepJobs = v }
            ),
            new Field<CollectionOptions, int>(
                "keep-newest-jobs",
                "So many newest finished jobs of each repository stay whatever their age.",
                Kinds.Whole(0, 1_000_000),
                o => o.KeepNewestJobs,
                (o, v) => o with { KeepNewestJobs = v }
            ),
            new Field<CollectionOptions, TimeSpan?>(
                "keep-logs",
                "How long the log of a finished build stays; or never, to delete none before its job.",
                Time,
                o => o.KeepLogs,
                (o, v) => o with { KeepLogs = v }
            ),
            new Field<CollectionOptions, TimeSpan>(
                "pause",
                "Rest between two transactions of a collection; longer disturbs less.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromMinutes(1)),
                o => o.Pause,
                (o, v) => o with { Pause = v }
            )
        );

    private static OptionalKind<TimeSpan> Time => new(Kinds.Duration(TimeSpan.Zero, Century), Never);
}
