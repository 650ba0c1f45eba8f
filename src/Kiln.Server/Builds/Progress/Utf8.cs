using System.Buffers;
using System.Text;

namespace Kiln.Server.Builds.Progress;

/// <summary>Where bytes of text may be cut.</summary>
internal static class Utf8
{
    /// <summary>How many of the bytes are left when a character that has begun at their end is kept back.</summary>
    public static int CompleteLength(ReadOnlySpan<byte> text)
    {
        // A character has four bytes at most: the last one that begins decides.
        for (var back = 1; back <= Math.Min(4, text.Length); back++)
        {
            if ((text[^back] & 0xc0) != 0x80)
            {
                var status = Rune.DecodeFromUtf8(text[^back..], out _, out _);
                return status == OperationStatus.NeedMoreData ? text.Length - back : text.Length;
            }
        }

        return text.Length;
    }
}
