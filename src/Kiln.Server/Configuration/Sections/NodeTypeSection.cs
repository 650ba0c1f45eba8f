using Kiln.BuildSpec;
using Kiln.BuildSpec.Architectures;
using Kiln.BuildSpec.Recipes;
using Kiln.Node.Launchers;
using Kiln.Oci;

namespace Kiln.Server.Configuration.Sections;

/// <summary>One kind of machine.</summary>
internal static class NodeTypeSection
{
    private const int MaxNumber = 1_000_000;
    private const long MaxBytes = 1L << 50;

    private static readonly string[] Known = [.. Microarchitectures.Names];

    public static Shape<NodeType> Shape { get; } =
        new("a type", [.. Built, .. Asked, .. Usual, .. Told]) { Check = Check };

    private static Field<NodeType>[] Built =>
        [
            new Field<NodeType, string>(
                "name",
                "How it is called in messages.",
                Kinds.Checked("NAME", _ => null),
                t => t.Name.Length == 0 ? null : t.Name,
                (t, v) => t with { Name = v }
            )
            {
                IsRequired = true,
            },
            new Field<NodeType, IReadOnlyList<string>>(
                "platforms",
                "What it builds for: linux/amd64, or linux/amd64/v3 where all its machines are of that level.",
                Kinds.ListOf(Kinds.Checked("PLATFORM", IsNoPlatform)),
                t => [.. t.Platforms.Select(p => p.ToString())],
                (t, v) => t with { Platforms = [.. v.Select(Platform.Parse)] }
            )
            {
                IsRequired = true,
            },
            new Field<NodeType, IReadOnlyList<string>>(
                "microarchitectures",
                "What all its machines are, by archspec's names; those whose programs they run are meant too.",
                Kinds.ListOf(Kinds.Checked("NAME", IsNoName)),
                t => t.Microarchitectures,
                (t, v) => t with { Microarchitectures = v }
            ),
            new Field<NodeType, IReadOnlyList<string>>(
                "emulates",
                "Platforms whose programs its machines emulate: linux/arm64.",
                Kinds.ListOf(Kinds.Checked("PLATFORM", IsNotEmulated)),
                t => [.. t.Emulates.Select(p => p.ToString())],
                (t, v) => t with { Emulates = [.. v.Select(Platform.Parse)] }
            ),
            new Field<NodeType, IReadOnlyList<string>>(
                "recipes",
                "What it builds: dockerfile, and singularity (definitions) where its machines have Apptainer.",
                Words(RecipeTypes.Dockerfile, RecipeTypes.Singularity),
                t => t.Recipes,
                (t, v) => t with { Recipes = v }
            ),
            new Field<NodeType, IReadOnlyList<string>>(
                "outputs",
                "The files that its machines make of images: sif, squashfs; oci for none; as the node's own machine otherwise.",
                Words(OutputFormats.Oci, OutputFormats.Sif, OutputFormats.Squashfs),
                t => t.Outputs,
                (t, v) => t with { Outputs = [.. v.Where(OutputFormats.IsDerived)] }
            ),
        ];

    private static Field<NodeType>[] Asked =>
        [
            Most("cpus", "Processors", t => t.Cpus, (t, v) => t with { Cpus = v }, 1),
            MostBytes("memory", "Memory", t => t.MemoryBytes, (t, v) => t with { MemoryBytes = v }),
            MostBytes("disk", "Disk space", t => t.DiskBytes, (t, v) => t with { DiskBytes = v }),
            Most("gpus", "GPUs", t => t.Gpus, (t, v) => t with { Gpus = v }, 0),
            new Field<NodeType, TimeSpan>(
                "time",
                "The most that a job may take, of which two minutes are for what is around its build.",
                Kinds.Duration(TimeSpan.FromMinutes(1), TimeSpan.FromDays(30)),
                t => t.Time,
                (t, v) => t with { Time = v }
            ),
            new Field<NodeType, IReadOnlyList<string>>(
                "networks",
                "The networks that builds can have there.",
                Kinds.ListOf(Kinds.Text),
                t => t.Networks,
                (t, v) => t with { Networks = v }
            ),
        ];

    private static Field<NodeType>[] Usual =>
        [
            new Field<NodeType, int?>(
                "default-cpus",
                "Processors of a build that does not say; two otherwise.",
                new OptionalKind<int>(Kinds.Whole(1, MaxNumber)),
                t => t.DefaultCpus,
                (t, v) => t with { DefaultCpus = v }
            ),
            new Field<NodeType, long?>(
                "default-memory",
                "Memory of a build that does not say; 4 GiB otherwise.",
                new OptionalKind<long>(Kinds.Size(1 << 20, MaxBytes)),
                t => t.DefaultMemoryBytes,
                (t, v) => t with { DefaultMemoryBytes = v }
            ),
        ];

    private static Field<NodeType>[] Told =>
        [
            .. NodeType.Places.Select(name => new Field<NodeType, string>(
                name,
                $"The {name} of its jobs.",
                Kinds.Text,
                t => t.Place.GetValueOrDefault(name),
                (t, v) => t with { Place = new Dictionary<string, string>(t.Place) { [name] = v } }
            )),
            new Field<NodeType, string>(
                "gpu-option",
                "How GPUs are asked for; {gpus} is their number.",
                Kinds.Text,
                t => t.GpuOption,
                (t, v) => t with { GpuOption = v }
            ),
            new Field<NodeType, IReadOnlyList<string>>(
                "arguments",
                "What else the batch system is told.",
                Kinds.ListOf(Kinds.Text),
                t => t.Arguments,
                (t, v) => t with { Arguments = v }
            ),
            new Section<NodeType, IReadOnlyDictionary<string, IReadOnlyList<string>>>(
                "backend",
                "What a request may choose with its 'backend', and the values that it may choose; * for any.",
                t => t.Backend,
                (t, v) => t with { Backend = v },
                [
                    .. NodeType.Places.Select(name => new Field<
                        IReadOnlyDictionary<string, IReadOnlyList<string>>,
                        IReadOnlyList<string>
                    >(
                        name,
                        $"The values of {name} that a request may choose.",
                        Kinds.ListOf(Kinds.Text),
                        b => b.GetValueOrDefault(name),
                        (b, v) => new Dictionary<string, IReadOnlyList<string>>(b) { [name] = v }
                    )),
                ]
            ),
        ];

    private static Field<NodeType> Most(
        string key,
        string what,
        Func<NodeType, int> get,
        Func<NodeType, int, NodeType> set,
        int least
    ) => new Field<NodeType, int>(key, $"{what} that one build may ask for.", Kinds.Whole(least, MaxNumber), get, set);

    private static Field<NodeType> MostBytes(
        string key,
        string what,
        Func<NodeType, long> get,
        Func<NodeType, long, NodeType> set
    ) => new Field<NodeType, long>(key, $"{what} that one build may ask for.", Kinds.Size(1 << 20, MaxBytes), get, set);

    private static Kind<IReadOnlyList<string>> Words(params string[] words) =>
        Kinds.ListOf(Kinds.Choice<string>([.. words.Select(word => (word, word))]));

    private static string? IsNoPlatform(string text) =>
        Platform.TryParse(text, out _) ? null : $"'{text}' is not os/architecture[/variant]";

    // What is not known here is a slip of the pen: nothing would ever be found to run there.
    private static string? IsNoName(string text) =>
        Microarchitectures.IsLevel(text)
            ? $"'{text}' is a level and no micro-architecture; it stands in 'platforms', as in {Microarchitectures.PlatformOf(text)?.ToString() ?? "linux/amd64/v3"}"
        : Known.Contains(text, StringComparer.Ordinal) ? null
        : $"'{text}' is no micro-architecture that is known; {Nearest.Advice(text, Known)}";

    private static string? IsNotEmulated(string text) =>
        IsNoPlatform(text)
        ?? (
            Platform.Parse(text) is { Variant: not null } platform
                ? $"'{text}' is more than is emulated; say {platform with { Variant = null }}"
                : null
        );

    private static string? Check(NodeType type) =>
        type.Microarchitectures.FirstOrDefault(name =>
            !PlatformLevels.Implied(type.Platforms, [name]).Any()
            && !type.Platforms.Any(p => PlatformLevels.Builds(p, Microarchitectures.PlatformOf(name)!))
        )
            is { } stray
            ? $"the micro-architecture {stray} is {Microarchitectures.PlatformOf(stray)}, and its platforms are {string.Join(", ", type.Platforms)}"
        : type.Emulates.FirstOrDefault(p => type.Platforms.Any(there => PlatformLevels.Builds(there, p))) is { } own
            ? $"it builds for {own} by itself, and does not emulate that"
        : null;
}
