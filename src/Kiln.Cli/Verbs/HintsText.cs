using Kiln.BuildSpec.Products;
using Kiln.Oci;

namespace Kiln.Cli.Verbs;

/// <summary>Hints as people read them; all of it is in the document.</summary>
internal static class HintsText
{
    // The rest is in --json.
    private const int MaxShown = 5;

    public static string Of(Reference image, HintsDocument hints)
    {
        List<string[]> rows =
        [
            ["image", image.ToString()],
            ["digest", hints.Subject.Digest.ToString()],
            ["platform", hints.Platform],
            ["flatten ownership", hints.Flatten.Ownership],
            ["flatten mode", hints.Flatten.Mode],
            .. (hints.Flatten.Reasons ?? []).Select(r => (string[])["because", r]),
            ["owners", Ids(hints.Owners)],
            ["groups", Ids(hints.Groups)],
            ["files", $"{hints.Files.Count}, {Sizes.Text(hints.Files.Bytes)}"],
            [
                "layers",
                $"{hints.Layers.Count}, {Sizes.Text(hints.Layers.Sum(l => l.Size))}, "
                    + $"{Sizes.Text(hints.Layers.Sum(l => l.UncompressedBytes))} unpacked",
            ],
            .. Paths("set-id", hints.Files.SetId),
            .. Paths("capabilities", hints.Files.Capabilities),
            .. Paths("devices", hints.Files.Devices),
            .. Paths("not for others", hints.Files.Unreadable),
            .. Paths("writable by all", hints.Files.Writable),
            .. hints.Elf is { } elf ? Rows(elf) : [],
            .. Libraries("mpi", hints.Mpi),
            .. Libraries("gpu", hints.Gpu),
            .. Libraries("communication", hints.Communication),
            .. hints
                .Directories.Take(MaxShown)
                .Select(
                    (d, i) => (string[])[i == 0 ? "largest" : "", $"{Sizes.Text(d.Bytes)} in {d.Files} files: {d.Path}"]
                ),
        ];
        using var text = new StringWriter();
        Columns.Write(text, rows);
        return text.ToString();
    }

    private static IEnumerable<string[]> Rows(HintedElf elf)
    {
        yield return
        [
            "programs",
            $"{elf.Files}, {string.Join(", ", elf.Machines.Select(m => $"{m.Files} for {m.Name}{(m.Abi is null ? "" : $" ({m.Abi})")}"))}",
        ];
        if (elf.Level is { } level)
        {
            yield return ["needs", $"{level}: {Users(elf.LevelNeededBy)}"];
        }

        if (elf.Variants is { } variants)
        {
            yield return ["has also", $"libraries for {string.Join(", ", variants)}"];
        }

        if (elf.Libc is { } libc)
        {
            yield return ["libc", string.Join(", ", libc)];
        }

        if (elf.Glibc is not null || elf.GlibcNeeded is not null)
        {
            yield return
            [
                "glibc",
                $"{elf.Glibc ?? "none"}{(elf.GlibcNeeded is { } needed ? $"; {needed} needed by {Users(elf.GlibcNeededBy)}" : "")}",
            ];
        }

        if (elf.Static > 0)
        {
            yield return ["static", $"{elf.Static}"];
        }

        if (elf.Unread is { } unread)
        {
            yield return ["not understood", Users(unread)];
        }
    }

    private static IEnumerable<string[]> Libraries(string title, IReadOnlyList<HintedLibrary>? libraries) =>
        (libraries ?? []).Select(l =>
            (string[])
                [
                    title,
                    $"{l.Implementation ?? l.Family}: {l.Name}, "
                        + (l.Provided is { } there ? $"is {there.Paths[0]}" : "not in the image")
                        + (l.NeededBy is { } users ? $", needed by {Users(users)}" : ", needed by nothing here"),
                ]
        );

    private static IEnumerable<string[]> Paths(string title, HintedPaths? paths) =>
        paths is null
            ? []
            :
            [
                [title, $"{paths.Count}"],
                .. paths.Entries.Take(MaxShown).Select(e => (string[])["", $"{e.Mode} {e.Owner}:{e.Group} {e.Path}"]),
            ];

    private static string Users(HintedUsers? users) =>
        users is null ? "nothing"
        : users.Count <= 2 ? string.Join(", ", users.Paths)
        : $"{users.Paths[0]} and {users.Count - 1} others";

    private static string Ids(IReadOnlyList<int> ids) =>
        ids.Count == 1 ? $"{ids[0]}" : $"{ids.Count}: {string.Join(", ", ids)}";
}
