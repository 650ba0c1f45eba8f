using Kiln.Node.Launchers;

namespace Kiln.Server.Configuration.Sections;

/// <summary>The file of <c>kiln node --config</c>: what builds may be started on, and how.</summary>
internal static class NodeSection
{
    private static readonly TimeSpan ShortestTime = TimeSpan.FromMinutes(3);
    private static readonly TimeSpan LongestTime = TimeSpan.FromDays(30);

    public static Shape<LauncherOptions> File { get; } =
        new("the configuration", [.. How, .. Where, .. Commands]) { Check = Check };

    private static Field<LauncherOptions>[] How =>
        [
            new Field<LauncherOptions, LauncherKind>(
                "launcher",
                "What starts the builds: the node itself, Slurm, or the site's own commands.",
                Kinds.Choice(
                    ("local", LauncherKind.Local),
                    ("slurm", LauncherKind.Slurm),
                    ("command", LauncherKind.Command)
                ),
                o => o.Kind,
                (o, v) => o with { Kind = v }
            ),
            new Field<LauncherOptions, int>(
                "jobs",
                "Builds that are with the batch system at one time, waiting ones included.",
                Kinds.Whole(1, 10_000),
                o => o.Jobs,
                (o, v) => o with { Jobs = v }
            ),
            new Field<LauncherOptions, TimeSpan>(
                "longest-wait",
                "How long a build may wait in the batch system's queue.",
                Kinds.Duration(TimeSpan.FromMinutes(1), LongestTime),
                o => o.MaxWait,
                (o, v) => o with { MaxWait = v }
            ),
            new Field<LauncherOptions, TimeSpan>(
                "interval",
                "The least time between two questions to the batch system.",
                Kinds.Duration(TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10)),
                o => o.Interval,
                (o, v) => o with { Interval = v }
            ),
            new Field<LauncherOptions, TimeSpan>(
                "restart-time",
                "What a restart of the node may take without losing what waits; the registry may allow less.",
                Kinds.Duration(TimeSpan.FromSeconds(10), TimeSpan.FromHours(1)),
                o => TimeSpan.FromSeconds(o.LeaseSeconds),
                (o, v) => o with { LeaseSeconds = (int)v.TotalSeconds }
            ),
        ];

    private static Field<LauncherOptions>[] Where =>
        [
            new Field<LauncherOptions, IReadOnlyList<NodeType>>(
                "types",
                "The kinds of machines that builds may be started on, in the order of preference.",
                Kinds.ListOf(NodeTypeSection.Shape, () => new NodeType()),
                o => o.Types,
                (o, v) => o with { Types = v }
            ),
            new Field<LauncherOptions, string>(
                "scratch",
                "A directory on the disk of each of those machines; what the batch system has in TMPDIR otherwise.",
                Kinds.File,
                o => o.Scratch,
                (o, v) => o with { Scratch = v }
            ),
            new Field<LauncherOptions, IReadOnlyList<string>>(
                "program",
                "How kiln is called on those machines; by the path that it has here otherwise.",
                Kinds.ListOf(Kinds.Text),
                o => o.Program,
                (o, v) => o with { Program = v }
            ),
            new Field<LauncherOptions, string>(
                "setup",
                "Shell that runs on those machines before kiln, for example: module load buildah.",
                Kinds.Text,
                o => o.Setup,
                (o, v) => o with { Setup = v }
            ),
        ];

    private static Field<LauncherOptions>[] Commands =>
        [
            Command("submit", "takes a job", o => o.Submit, (o, v) => o with { Submit = v }),
            Command("status", "says where jobs are", o => o.Status, (o, v) => o with { Status = v }),
            Command("cancel", "ends jobs", o => o.Cancel, (o, v) => o with { Cancel = v }),
        ];

    private static Field<LauncherOptions> Command(
        string key,
        string does,
        Func<LauncherOptions, IReadOnlyList<string>> get,
        Func<LauncherOptions, IReadOnlyList<string>, LauncherOptions> set
    ) =>
        new Field<LauncherOptions, IReadOnlyList<string>>(
            key,
            $"With launcher: command, the program that {does}, and its arguments.",
            Kinds.ListOf(Kinds.Text),
            get,
            set
        );

    private static string? Check(LauncherOptions options) =>
        options.Kind == LauncherKind.Local ? null
        : options.Types.Count == 0 ? "it needs 'types': what builds may be started on"
        : options.Types.GroupBy(t => t.Name).FirstOrDefault(g => g.Count() > 1) is { } twice
            ? $"two types are called '{twice.Key}'"
        : options.Types.FirstOrDefault(t => t.Time < ShortestTime) is { } brief
            ? $"the type '{brief.Name}' has less than {ShortestTime.TotalMinutes:0} minutes, of which two are for what is around a build"
        : options.Kind == LauncherKind.Command
        && (options.Submit.Count == 0 || options.Status.Count == 0 || options.Cancel.Count == 0)
            ? "launcher: command needs 'submit', 'status' and 'cancel'"
        : null;
}
