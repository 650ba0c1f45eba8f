using System.Text;

namespace Kiln.Inspect.Elf;

/// <summary>The dynamic section (System V gABI, chapter 5): addresses and offsets, no strings yet.</summary>
internal sealed record ElfDynamic
{
    private const int MaxNeeded = 256;

    public List<long> Needed { get; } = [];
    public long? Soname { get; private set; }
    public long Strings { get; private set; }
    public long StringBytes { get; private set; }

    /// <summary>Address of the versions that are needed; 0 where there are none.</summary>
    public long Needs { get; private set; }

    /// <summary>Address of the versions that it has.</summary>
    public long Provides { get; private set; }

    public bool NeedsStrings => Needed.Count > 0 || Soname is not null || Needs != 0 || Provides != 0;

    public static ElfDynamic Read(ReadOnlySpan<byte> section, ElfNumbers numbers)
    {
        var dynamic = new ElfDynamic();
        var word = numbers.Wide ? 8 : 4;
        for (; section.Length >= 2 * word; section = section[(2 * word)..])
        {
            var value = numbers.Address(section[word..]);
            switch (numbers.Address(section))
            {
                case 0:
                    return dynamic;
                case 1 when dynamic.Needed.Count < MaxNeeded:
                    dynamic.Needed.Add(value);
                    break;
                case 5:
                    dynamic.Strings = value;
                    break;
                case 10:
                    dynamic.StringBytes = Math.Min(value, ElfWindow.MaxHead);
                    break;
                case 14:
                    dynamic.Soname = value;
                    break;
                case 0x6ffffffe:
                    dynamic.Needs = value;
                    break;
                case 0x6ffffffc:
                    dynamic.Provides = value;
                    break;
                default:
                    break;
            }
        }

        return dynamic;
    }
}

/// <summary>Names in a string table, with a zero at the end of each.</summary>
internal static class ElfStrings
{
    private const int MaxLength = 255;

    /// <summary>The name at an offset; null where there is none that a file could have: printable ASCII, at most 255.</summary>
    public static string? At(ReadOnlySpan<byte> table, long offset)
    {
        if (offset < 0 || offset >= table.Length)
        {
            return null;
        }

        var text = table[(int)offset..];
        text = text[..Math.Min(text.Length, MaxLength + 1)];
        var end = text.IndexOf((byte)0);
        return end <= 0 || text[..end].IndexOfAnyExceptInRange((byte)'!', (byte)'~') >= 0
            ? null
            : Encoding.ASCII.GetString(text[..end]);
    }

    public static List<string> All(ReadOnlySpan<byte> table, List<long> offsets)
    {
        var names = new List<string>();
        foreach (var offset in offsets)
        {
            if (At(table, offset) is { } name)
            {
                names.Add(name);
            }
        }

        return names;
    }
}
