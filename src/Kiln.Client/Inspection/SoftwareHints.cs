using System.Globalization;
using Kiln.BuildSpec.Products;
using Kiln.Inspect;
using Kiln.Inspect.Elf;
using Kiln.Oci;

namespace Kiln.Client.Inspection;

/// <summary>What an image's programs and libraries declare, taken together.</summary>
internal sealed class SoftwareHints
{
    private const int MaxMachines = 20;
    private const int MaxVariants = 20;
    private const int MaxLevel = 4;
    private const string X86 = "x86_64";

    private readonly List<LayerEntry> _programs;
    private readonly Dictionary<LibraryKind, List<HintedLibrary>> _libraries = [];

    // Those of which a loader alone is there tell nothing.
    private readonly Dictionary<LibraryKind, SortedSet<string>> _families = [];

    /// <param name="entries">Of the flattened image, in the order of their paths.</param>
    public SoftwareHints(List<LayerEntry> entries)
    {
        var files = entries.FindAll(e => e.Elf is not null);
        _programs = files.FindAll(e => e.Elf!.Loadable);
        Elf = files.Count == 0 ? null : Read(files.Count);
        Find();
    }

    /// <summary>Null where there is no ELF file.</summary>
    public HintedElf? Elf { get; }

    public IReadOnlyList<string>? MpiImplementations =>
        Some(
            Libraries(LibraryKind.Mpi)
                ?.Select(l => l.Implementation)
                .OfType<string>()
                .Distinct(StringComparer.Ordinal)
                .Order(StringComparer.Ordinal)
        );

    public IReadOnlyList<HintedLibrary>? Libraries(LibraryKind kind) => _libraries.GetValueOrDefault(kind);

    public IReadOnlyList<string>? Families(LibraryKind kind) => Some(_families.GetValueOrDefault(kind));

    /// <summary>The least processor that is declared as needed, by the files or by what the image was built for.</summary>
    public string? CpuTarget(Platform platform)
    {
        // Firmware, 32-bit programs and code for GPUs, of which images can have more than of programs, say nothing of the level
        // that the platform's own have to have.
        if (Elf?.Machines.FirstOrDefault(m => IsOf(m.Name, platform.Architecture)) is not { } most)
        {
            return null;
        }

        var declared = LevelOf(Elf.Level);
        var built = platform is { Architecture: "amd64", Variant: { } variant } ? LevelOf(variant) : 0;
        return most.Name == X86 ? Level(Math.Max(declared, built)) ?? X86 : most.Name;
    }

    private static bool IsOf(string machine, string architecture) =>
        (machine, architecture) is (X86, "amd64") or ("aarch64", "arm64") or ("i386", "386") || machine == architecture;

    private static int LevelOf(string? text) =>
        int.TryParse(
            text.AsSpan(text?.LastIndexOf('v') + 1 ?? 0),
            NumberStyles.None,
            CultureInfo.InvariantCulture,
            out var level
        )
            ? Math.Min(level, MaxLevel)
            : 0;

    // archspec: x86_64 is the first level, and has no number.
    private static string? Level(int level) =>
        level <= 1 ? null : string.Create(CultureInfo.InvariantCulture, $"{X86}_v{level}");

    private static List<string>? Some(IEnumerable<string>? words) =>
        words?.ToList() is { Count: > 0 } list ? list : null;

    private HintedElf Read(long files)
    {
        // What the loader takes only where it fits, the image does not need.
        var ordinary = _programs.FindAll(e => LoaderVariants.Of(e.Path) is null);
        var level = ordinary.Max(e => (int?)e.Elf!.Level) ?? 0;
        // The parts of glibc need each other.
        var users = ordinary.FindAll(e => e.Elf!.GlibcProvided is null);
        var glibc = Highest(users, e => e.GlibcNeeded);
        return new HintedElf(files)
        {
            Machines =
            [
                .. _programs
                    .GroupBy(e => (e.Elf!.Machine, e.Elf.Bits, e.Elf.Abi))
                    .OrderByDescending(g => g.Count())
                    .ThenBy(g => g.Key.Machine, StringComparer.Ordinal)
                    .ThenBy(g => g.Key.Bits)
                    .ThenBy(g => g.Key.Abi, StringComparer.Ordinal)
                    .Take(MaxMachines)
                    .Select(g => new HintedMachine(g.Key.Machine, g.Key.Bits, g.Count()) { Abi = g.Key.Abi }),
            ],
            Level = Level(level),
            LevelNeededBy = level <= 1 ? null : FileHints.Users(ordinary.Where(e => e.Elf!.Level == level)),
            Variants = Some(
                _programs
                    .Select(e => LoaderVariants.Of(e.Path))
                    .OfType<string>()
                    .Distinct(StringComparer.Ordinal)
                    .Order(StringComparer.Ordinal)
                    .Take(MaxVariants)
            ),
            Libc = Some(
                _programs
                    .Select(e => Libc(e.Elf!))
                    .OfType<string>()
                    .Distinct(StringComparer.Ordinal)
                    .Order(StringComparer.Ordinal)
            ),
            Glibc = Highest(_programs.FindAll(e => e.Elf!.Soname == "libc.so.6"), e => e.GlibcProvided),
            GlibcNeeded = glibc,
            GlibcNeededBy = glibc is null ? null : FileHints.Users(users.Where(e => e.Elf!.GlibcNeeded == glibc)),
            Static = _programs.Count(e => e.Elf!.IsStatic),
            Unread = FileHints.Users(_programs.Where(e => e.Elf!.Unread)),
        };
    }

    private static string? Highest(List<LayerEntry> files, Func<ElfFacts, string?> version) =>
        files.Aggregate((string?)null, (highest, e) => ElfVersions.Later(highest, version(e.Elf!)));

    // ld-musl-x86_64.so.1, libc.musl-x86_64.so.1; of glibc the loaders have other names on each machine.
    private static string? Libc(ElfFacts elf) =>
        elf.Interpreter?.Contains("/ld-musl", StringComparison.Ordinal) is true
        || elf.Needed?.Any(n => n.StartsWith("libc.musl-", StringComparison.Ordinal)) is true
            ? "musl"
        : elf.GlibcNeeded is not null ? "glibc"
        : null;

    private void Find()
    {
        var provided = new Dictionary<string, List<LayerEntry>>(StringComparer.Ordinal);
        var needed = new Dictionary<string, List<LayerEntry>>(StringComparer.Ordinal);
        foreach (var file in _programs)
        {
            if (file.Elf!.Soname is { } name && LibraryNames.Of(name) is not null)
            {
                Add(provided, name, file);
            }

            foreach (var library in file.Elf.Needed ?? [])
            {
                if (LibraryNames.Of(library) is not null)
                {
                    Add(needed, library, file);
                }
            }
        }

        foreach (var name in provided.Keys.Union(needed.Keys).Order(StringComparer.Ordinal))
        {
            var there = provided.GetValueOrDefault(name) ?? [];
            var users = needed.GetValueOrDefault(name) ?? [];
            var known = (there.Count > 0 ? LibraryNames.Of(there[0].Elf!) : null) ?? LibraryNames.Of(name)!;
            Put(
                _libraries,
                known.Kind,
                new HintedLibrary(name, known.Family)
                {
                    Implementation = known.Implementation,
                    Provided = FileHints.Users(there),
                    NeededBy = FileHints.Users(users),
                }
            );
            if ((there.Count > 0 && !known.IsLoader) || users.Exists(u => LibraryNames.Counts(u.Path)))
            {
                Put(_families, known.Kind, known.Family);
            }
        }
    }

    private static void Put<TList, T>(Dictionary<LibraryKind, TList> lists, LibraryKind kind, T one)
        where TList : ICollection<T>, new()
    {
        if (!lists.TryGetValue(kind, out var list))
        {
            lists[kind] = list = new TList();
        }

        if (list.Count < HintsDocument.MaxPaths)
        {
            list.Add(one);
        }
    }

    private static void Add(Dictionary<string, List<LayerEntry>> lists, string name, LayerEntry file)
    {
        if (!lists.TryGetValue(name, out var list))
        {
            lists[name] = list = [];
        }

        list.Add(file);
    }
}
