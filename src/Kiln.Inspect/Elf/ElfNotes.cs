using System.Numerics;

namespace Kiln.Inspect.Elf;

/// <summary>Notes about a program (Linux Extensions to gABI, "Program Property"; x86-64 psABI, "Program Property").</summary>
internal static class ElfNotes
{
    private const uint PropertyNote = 5;
    private const uint IsaNeeded = 0xc0008002;
    private const int MaxLevel = 4;

    /// <summary>The level of the x86-64 psABI that the notes declare as needed; 0 where they declare none.</summary>
    public static int Level(ReadOnlySpan<byte> notes, ElfNumbers numbers)
    {
        var level = 0;
        // n_namesz, n_descsz, n_type, the name and what is said, each filled up to the word's length.
        while (notes.Length >= 12)
        {
            var (nameBytes, textBytes) = (numbers.Word(notes), numbers.Word(notes[4..]));
            var type = numbers.Word(notes[8..]);
            var textAt = 12 + Aligned(nameBytes, 4);
            var end = textAt + Aligned(textBytes, type == PropertyNote && numbers.Wide ? 8 : 4);
            if (textAt + textBytes > notes.Length)
            {
                break;
            }

            if (type == PropertyNote && notes[12..].StartsWith("GNU\0"u8) && nameBytes == 4)
            {
                level = Math.Max(level, InProperties(notes.Slice((int)textAt, (int)textBytes), numbers));
            }

            notes = notes[(int)Math.Min(end, notes.Length)..];
        }

        return level;
    }

    private static int InProperties(ReadOnlySpan<byte> properties, ElfNumbers numbers)
    {
        var level = 0;
        while (properties.Length >= 8)
        {
            var (type, size) = (numbers.Word(properties), numbers.Word(properties[4..]));
            if (size > properties.Length - 8)
            {
                break;
            }

            if (type == IsaNeeded && size == 4)
            {
                // Bit 0 is the baseline, bit 1 x86-64-v2, …
                level = Math.Max(
                    level,
                    Math.Min(MaxLevel, 32 - BitOperations.LeadingZeroCount(numbers.Word(properties[8..])))
                );
            }

            properties = properties[(int)Math.Min(8 + Aligned(size, numbers.Wide ? 8 : 4), properties.Length)..];
        }

        return level;
    }

    private static long Aligned(uint size, int to) => (size + (long)to - 1) / to * to;
}
