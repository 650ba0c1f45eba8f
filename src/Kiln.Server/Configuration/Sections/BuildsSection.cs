using Kiln.BuildSpec.Definitions;

namespace Kiln.Server.Configuration.Sections;

/// <summary><c>builds</c>: what the build service may do, and what a build may use.</summary>
internal static class BuildsSection
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Month = TimeSpan.FromDays(30);

    public static Field<ServerOptions> Field { get; } =
        new Section<ServerOptions, BuildOptions>(
            "builds",
            "What the build service may do, and what a build may use.",
            o => o.Build,
            (o, v) => o with { Build = v },
            [.. Service, Emulation, SingleId, Signing, Bases, .. Definitions, .. Queue, .. Pulls, .. Moves, .. Limits]
        );

    private static IReadOnlyList<Field<BuildOptions>> Service =>
        [
            new Field<BuildOptions, bool>(
                "enabled",
                "Whether this server builds; without it, it is a registry only.",
                Kinds.Switch,
                o => o.LocalNode,
                (o, v) => o with { LocalNode = v }
            )
            {
                Flag = new("--no-builds", Negation: "Build nothing here: be a registry only."),
            },
            new Field<BuildOptions, int>(
                "concurrent",
                "Builds at a time.",
                Kinds.Whole(1, 1000),
                o => o.Concurrency,
                (o, v) => o with { Concurrency = v }
            )
            {
                Flag = new("--concurrent-builds"),
            },
            new Field<BuildOptions, bool>(
                "unsafe",
                "Build even where this machine cannot keep a build apart from the server's own account.",
                Kinds.Switch,
                o => o.Unsafe,
                (o, v) => o with { Unsafe = v }
            )
            {
                Flag = new("--unsafe-builds"),
            },
            new Field<BuildOptions, bool>(
                "allow-host-network",
                "Let requests ask for the host's network.",
                Kinds.Switch,
                o => o.AllowHostNetwork,
                (o, v) => o with { AllowHostNetwork = v }
            )
            {
                Flag = new("--allow-host-network"),
            },
            new Field<BuildOptions, IReadOnlyList<string>>(
                "insecure-registries",
                "Registries, HOST[:PORT], that are spoken to without TLS. Loopback always is.",
                Kinds.Texts,
                o => o.InsecureRegistries,
                (o, v) => o with { InsecureRegistries = v }
            )
            {
                Flag = new("--insecure-registry", Placeholder: "HOST"),
            },
        ];

    private static Field<BuildOptions> Emulation =>
        new Field<BuildOptions, bool>(
            "emulation",
            "Whether what no node builds natively may be built on a machine that emulates the processor: allowed or denied.",
            Kinds.Choice(("allowed", true), ("denied", false)),
            o => o.AllowEmulation,
            (o, v) => o with { AllowEmulation = v }
        )
        {
            Flag = new("--emulation"),
        };

    private static Field<BuildOptions> SingleId =>
        new Field<BuildOptions, bool>(
            "single-id",
            "Build with one user id, by root emulation, also where there are subordinate ids: images then have no owners but root.",
            Kinds.Switch,
            o => o.SingleId,
            (o, v) => o with { SingleId = v }
        )
        {
            Flag = new("--single-id"),
        };

    private static IReadOnlyList<Field<BuildOptions>> Definitions =>
        [
            new Field<BuildOptions, IReadOnlyList<string>>(
                "bootstraps",
                "What definitions may start from: docker, oras, localimage, debootstrap, scratch. All of these by default.",
                Kinds.ListOf(Kinds.Choice([.. BootstrapAgents.All.Select(agent => (agent, agent))])),
                o => o.Bootstraps,
                (o, v) => o with { Bootstraps = v }
            ),
            new Field<BuildOptions, string>(
                "apptainer-root",
                "A root file system with Apptainer in it, where the machine's own has none or an old one; definitions are built with its programs.",
                Kinds.Folder,
                o => o.ApptainerRoot,
                (o, v) => o with { ApptainerRoot = v }
            )
            {
                Flag = new("--apptainer-root"),
            },
        ];

    private static Field<BuildOptions> Signing =>
        new Field<BuildOptions, string>(
            "signing-key-file",
            "A private key (ECDSA P-256, PEM, mode 0600) that signs how images were made; they are not signed otherwise.",
            Kinds.File,
            o => o.SigningKeyFile,
            (o, v) => o with { SigningKeyFile = v }
        )
        {
            Flag = new("--signing-key-file"),
        };

    private static Field<BuildOptions> Bases =>
        new Section<BuildOptions, BuildOptions>(
            "bases",
            "Where the images may come from that recipes stand on.",
            o => o,
            (_, o) => o,
            new Field<BuildOptions, IReadOnlyList<string>>(
                "allow",
                "HOST or HOST/PATTERN of what may be a base beside this registry's own; all that is at a public address otherwise. A host named in full may be at any address.",
                Kinds.ListOf(Places),
                o => o.AllowBases,
                (o, v) => o with { AllowBases = v }
            ),
            new Field<BuildOptions, IReadOnlyList<string>>(
                "deny",
                "HOST or HOST/PATTERN of what may not, whatever allow says.",
                Kinds.ListOf(Places),
                o => o.DenyBases,
                (o, v) => o with { DenyBases = v }
            )
        );

    private static Kind<string> Places =>
        Kinds.Checked(
            "PLACE",
            text =>
                text.Contains("://", StringComparison.Ordinal) || text.StartsWith('/') || text.Any(char.IsWhiteSpace)
                    ? $"'{text}' is not HOST or HOST/PATTERN, such as docker.io/library/*"
                    : null
        );

    private static IReadOnlyList<Field<BuildOptions>> Queue =>
        [
            new Field<BuildOptions, TimeSpan>(
                "timeout",
                "How long a build may run at most.",
                Kinds.Duration(Second, Month),
                o => TimeSpan.FromSeconds(o.MaxTimeoutSeconds),
                (o, v) => o with { MaxTimeoutSeconds = (int)v.TotalSeconds }
            )
            {
                Flag = new("--build-timeout"),
            },
            new Field<BuildOptions, TimeSpan>(
                "default-timeout",
                "How long a build may run whose request says nothing of it; never longer than timeout.",
                Kinds.Duration(Second, Month),
                o => TimeSpan.FromSeconds(o.DefaultTimeoutSeconds),
                (o, v) => o with { DefaultTimeoutSeconds = (int)v.TotalSeconds }
            ),
            new Field<BuildOptions, TimeSpan>(
                "queue-timeout",
                "How long a build may wait at most before it fails.",
                Kinds.Duration(Second, Month),
                o => TimeSpan.FromSeconds(o.MaxQueueSeconds),
                (o, v) => o with { MaxQueueSeconds = (int)v.TotalSeconds }
            ),
            new Field<BuildOptions, TimeSpan>(
                "lease",
                "A node that says nothing for so long has lost its build.",
                Kinds.Duration(TimeSpan.FromSeconds(5), TimeSpan.FromDays(1)),
                o => TimeSpan.FromSeconds(o.LeaseSeconds),
                (o, v) => o with { LeaseSeconds = (int)v.TotalSeconds }
            ),
            new Field<BuildOptions, int>(
                "attempts",
                "Tries at a build before it has failed.",
                Kinds.Whole(1, 100),
                o => o.MaxAttempts,
                (o, v) => o with { MaxAttempts = v }
            ),
            new Field<BuildOptions, int>(
                "max-active-jobs",
                "Jobs that may wait or run in one repository.",
                Kinds.Whole(1, 1_000_000),
                o => o.MaxActiveJobs,
                (o, v) => o with { MaxActiveJobs = v }
            ),
            new Field<BuildOptions, TimeSpan>(
                "reuse",
                "Age up to which a finished build answers an identical request; 0 for never.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromDays(3650)),
                o => TimeSpan.FromSeconds(o.ReuseSeconds),
                (o, v) => o with { ReuseSeconds = (int)v.TotalSeconds }
            ),
        ];

    private static IReadOnlyList<Field<BuildOptions>> Pulls =>
        [
            new Field<BuildOptions, TimeSpan>(
                "max-lease",
                "The longest silence that a node elsewhere may ask for.",
                Kinds.Duration(TimeSpan.FromSeconds(5), TimeSpan.FromDays(1)),
                o => TimeSpan.FromSeconds(o.MaxLeaseSeconds),
                (o, v) => o with { MaxLeaseSeconds = (int)v.TotalSeconds }
            ),
            new Field<BuildOptions, PushTriggers?>(
                "trigger",
                "Whether a pushed recipe is built: off, opt-in (where it asks for that), or on.",
                Kinds.Choice<PushTriggers?>(
                    ("off", PushTriggers.Off),
                    ("opt-in", PushTriggers.OptIn),
                    ("on", PushTriggers.On)
                ),
                o => o.Trigger,
                (o, v) => o with { Trigger = v }
            )
            {
                Flag = new("--trigger"),
            },
            new Field<BuildOptions, int>(
                "max-triggers",
                "Builds that pushes may start in one repository in a minute.",
                Kinds.Whole(1, 1_000_000),
                o => o.MaxTriggersPerMinute,
                (o, v) => o with { MaxTriggersPerMinute = v }
            ),
            new Field<BuildOptions, PullBuilds>(
                "pull-builds",
                "What a pull of a tag that is not there waits for: off, jobs (that will move it), or recipes (that declare it, too).",
                Kinds.Choice(("off", PullBuilds.Off), ("jobs", PullBuilds.Jobs), ("recipes", PullBuilds.Recipes)),
                o => o.PullBuild,
                (o, v) => o with { PullBuild = v }
            )
            {
                Flag = new("--pull-builds"),
            },
            new Field<BuildOptions, TimeSpan>(
                "pull-hold",
                "How long such a pull is held before the client is told to come again.",
                Kinds.Duration(TimeSpan.Zero, TimeSpan.FromSeconds(55)),
                o => TimeSpan.FromSeconds(o.PullHoldSeconds),
                (o, v) => o with { PullHoldSeconds = (int)v.TotalSeconds }
            )
            {
                Flag = new("--pull-hold"),
            },
        ];

    private static IReadOnlyList<Field<BuildOptions>> Moves =>
        [
            new Field<BuildOptions, RebuildTriggers>(
                "rebuild",
                "When images are built anew without being asked for: off, or on-base-change (a base's tag of this registry or of an upstream moves). The policy may say otherwise for repositories.",
                Kinds.Choice(("off", RebuildTriggers.Off), ("on-base-change", RebuildTriggers.OnBaseChange)),
                o => o.Rebuild,
                (o, v) => o with { Rebuild = v }
            ),
            new Field<BuildOptions, int>(
                "max-rebuilds",
                "Builds that moved bases may start in one repository in an hour; what is more waits.",
                Kinds.Whole(1, 1_000_000),
                o => o.MaxRebuildsPerHour,
                (o, v) => o with { MaxRebuildsPerHour = v }
            ),
            new Field<BuildOptions, int>(
                "max-rebuilds-at-once",
                "Builds that moved bases started and that are not done, in the whole registry; what is more waits, so that people need not.",
                Kinds.Whole(1, 1_000_000),
                o => o.MaxRebuildsAtOnce,
                (o, v) => o with { MaxRebuildsAtOnce = v }
            ),
        ];

    private static IReadOnlyList<Field<BuildOptions>> Limits =>
        [
            Size(
                "memory",
                "Memory of one build.",
                "--build-memory",
                o => o.MemoryBytes,
                (o, v) => o with { MemoryBytes = v }
            ),
            Size(
                "disk",
                "Disk space of one build.",
                "--build-disk",
                o => o.DiskBytes,
                (o, v) => o with { DiskBytes = v }
            ),
            new Field<BuildOptions, int>(
                "processes",
                "Processes of one build.",
                Kinds.Whole(1, 1_000_000),
                o => o.Processes,
                (o, v) => o with { Processes = v }
            )
            {
                Flag = new("--build-processes"),
            },
            Size(
                "log",
                "Log of one build; what comes after is dropped.",
                "--build-log",
                o => o.MaxLogBytes,
                (o, v) => o with { MaxLogBytes = v }
            ),
            Size(
                "context",
                "Context of one build, unpacked.",
                "--build-context",
                o => o.MaxContextBytes,
                (o, v) => o with { MaxContextBytes = v }
            ),
            Size(
                "recipe",
                "The largest recipe.",
                null,
                o => o.MaxRecipeBytes,
                (o, v) => o with { MaxRecipeBytes = (int)v },
                max: 64 << 20
            ),
            Size(
                "free-disk",
                "What a build has to leave free on the disk; it is ended otherwise.",
                null,
                o => o.FreeDiskFloorBytes,
                (o, v) => o with { FreeDiskFloorBytes = v }
            ),
        ];

    private static Field<BuildOptions, long> Size(
        string key,
        string description,
        string? flag,
        Func<BuildOptions, long> get,
        Func<BuildOptions, long, BuildOptions> set,
        long max = 1L << 50
    ) => new(key, description, Kinds.Size(1, max), o => get(o), set) { Flag = flag is null ? null : new(flag) };
}
