namespace Kiln.Tests.Fuzz;

/// <summary>
/// What one case is made by: the same numbers for the same seed and index, on every machine, whatever the cases before it
/// were.
/// </summary>
internal sealed class Dice
{
    private readonly Random _random;

    public Dice(int seed, int index) => _random = new Random((int)Mix(((ulong)(uint)seed << 32) | (uint)index));

    /// <summary>From 0 to <paramref name="end"/>, without it.</summary>
    public int Below(int end) => _random.Next(end);

    /// <summary>True in so many of a hundred cases.</summary>
    public bool Percent(int chance) => _random.Next(100) < chance;

    public T Of<T>(params IReadOnlyList<T> choices) => choices[_random.Next(choices.Count)];

    public byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        _random.NextBytes(bytes);
        return bytes;
    }

    /// <summary>Text of any bytes, one character for each.</summary>
    public string Latin1(int count) => System.Text.Encoding.Latin1.GetString(Bytes(count));

    // SplitMix64: neighbouring seeds must not begin alike.
    private static ulong Mix(ulong value)
    {
        unchecked
        {
            value += 0x9E3779B97F4A7C15;
            value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
            value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
            return (value ^ (value >> 31)) & int.MaxValue;
        }
    }
}
