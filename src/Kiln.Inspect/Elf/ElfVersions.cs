namespace Kiln.Inspect.Elf;

/// <summary>Versions of symbols (Linux Standard Base, "Symbol Versioning"), as far as they are those of glibc.</summary>
public static class ElfVersions
{
    private const string Prefix = "GLIBC_";

    // Lists are followed by offsets that the file has: a bound on steps ends what goes round.
    private const int MaxSteps = 8192;

    /// <summary>The highest version of glibc that is needed, without its prefix.</summary>
    /// <param name="needs">From <c>.gnu.version_r</c> on.</param>
    internal static string? HighestNeeded(ReadOnlySpan<byte> needs, ReadOnlySpan<byte> strings, ElfNumbers numbers) =>
        // vn_version, vn_cnt, vn_file, vn_aux, vn_next; vna_hash, vna_flags, vna_other, vna_name, vna_next
        Highest(needs, strings, numbers, new Layout(Length: 16, AuxAt: 8, NextAt: 12, AuxLength: 16, NameAt: 8));

    /// <summary>The highest version of glibc that there is.</summary>
    /// <param name="provides">From <c>.gnu.version_d</c> on.</param>
    internal static string? HighestProvided(
        ReadOnlySpan<byte> provides,
        ReadOnlySpan<byte> strings,
        ElfNumbers numbers
    ) =>
        // vd_version, vd_flags, vd_ndx, vd_cnt, vd_hash, vd_aux, vd_next; vda_name, vda_next
        Highest(provides, strings, numbers, new Layout(Length: 20, AuxAt: 12, NextAt: 16, AuxLength: 8, NameAt: 0));

    /// <summary>The later of two versions, each of up to four numbers.</summary>
    public static string? Later(string? left, string? right) =>
        left is null ? right
        : right is null ? left
        : Version.Parse(left) >= Version.Parse(right) ? left
        : right;

    private static string? Highest(
        ReadOnlySpan<byte> list,
        ReadOnlySpan<byte> strings,
        ElfNumbers numbers,
        Layout layout
    )
    {
        string? highest = null;
        var steps = 0;
        for (long at = 0; at >= 0 && at <= list.Length - layout.Length; )
        {
            for (var aux = at + numbers.Word(list[((int)at + layout.AuxAt)..]); aux <= list.Length - layout.AuxLength; )
            {
                if (++steps > MaxSteps)
                {
                    return highest;
                }

                var name = ElfStrings.At(strings, numbers.Word(list[((int)aux + layout.NameAt)..]));
                highest = Later(highest, Glibc(name));
                var on = numbers.Word(list[((int)aux + layout.NameAt + 4)..]);
                if (on == 0)
                {
                    break;
                }

                aux += on;
            }

            var next = numbers.Word(list[((int)at + layout.NextAt)..]);
            if (next == 0 || ++steps > MaxSteps)
            {
                break;
            }

            at += next;
        }

        return highest;
    }

    // GLIBC_PRIVATE and GLIBC_ABI_DT_RELR are no versions.
    private static string? Glibc(string? name) =>
        name is not null
        && name.StartsWith(Prefix, StringComparison.Ordinal)
        && Version.TryParse(name[Prefix.Length..], out _)
            ? name[Prefix.Length..]
            : null;

    private sealed record Layout(int Length, int AuxAt, int NextAt, int AuxLength, int NameAt);
}
