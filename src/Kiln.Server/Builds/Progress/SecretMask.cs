using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Kiln.BuildSpec;

namespace Kiln.Server.Builds.Progress;

/// <summary>
/// Replaces secret values in a log while it comes in pieces: what may be the beginning of a value is held back until
/// more comes. A value is found whole and line by line; values of fewer than four bytes are not looked for, since they
/// occur by chance.
/// </summary>
internal sealed class SecretMask
{
    private const int ShortestBytes = 4;
    private static readonly byte[] Replacement = "***"u8.ToArray();
    private readonly List<byte[]> _values;

    // By their first bytes: a value of many lines is many values, and every byte of the log is looked at.
    private readonly Dictionary<uint, List<byte[]>> _byStart = [];
    private byte[] _held = [];
    private byte[] _heldNext = [];

    /// <param name="held">What an earlier mask of the same log held back.</param>
    public SecretMask(IEnumerable<LeaseSecret> secrets, byte[]? held = null)
    {
        _held = held ?? [];
        _values =
        [
            .. secrets
                .SelectMany(s => Forms(s.Value))
                .Where(v => v.Length >= ShortestBytes)
                .DistinctBy(Convert.ToBase64String)
                .OrderByDescending(v => v.Length),
        ];
        foreach (var value in _values)
        {
            var start = BinaryPrimitives.ReadUInt32LittleEndian(value);
            (_byStart.TryGetValue(start, out var list) ? list : _byStart[start] = []).Add(value);
        }
    }

    /// <summary>
    /// What of the log so far can be written now. The same is asked again, for example by a transaction that is run again,
    /// until <see cref="Advance"/> says that it was written.
    /// </summary>
    public ReadOnlyMemory<byte> Next(ReadOnlyMemory<byte> text)
    {
        if (_values.Count == 0)
        {
            return text;
        }

        byte[] all = [.. _held, .. text.Span];
        var output = new ArrayBufferWriter<byte>();
        _heldNext = Replace(all, output).ToArray();
        return output.WrittenMemory;
    }

    /// <summary>Goes on behind what the last call of <see cref="Next"/> was given.</summary>
    public void Advance() => _held = _heldNext;

    /// <summary>What was held back, at the log's end.</summary>
    public ReadOnlyMemory<byte> Rest => _held;

    /// <summary>A whole text with the values replaced.</summary>
    public string? Apply(string? text)
    {
        if (text is null || _values.Count == 0)
        {
            return text;
        }

        var output = new ArrayBufferWriter<byte>();
        output.Write(Replace(Encoding.UTF8.GetBytes(text), output));
        return Encoding.UTF8.GetString(output.WrittenSpan);
    }

    // Returns the tail that may be the beginning of a value.
    private ReadOnlySpan<byte> Replace(ReadOnlySpan<byte> text, ArrayBufferWriter<byte> output)
    {
        var at = 0;
        var written = 0;
        while (at < text.Length)
        {
            var here = text[at..];
            var hit = Longest(here, out var partial);
            if (partial)
            {
                break;
            }

            if (hit == 0)
            {
                at++;
                continue;
            }

            output.Write(text[written..at]);
            output.Write(Replacement);
            at += hit;
            written = at;
        }

        output.Write(text[written..at]);
        return text[at..];
    }

    private int Longest(ReadOnlySpan<byte> here, out bool partial)
    {
        partial = false;
        var candidates =
            here.Length < ShortestBytes
                ? _values
                : _byStart.GetValueOrDefault(BinaryPrimitives.ReadUInt32LittleEndian(here));
        foreach (var value in candidates ?? [])
        {
            if (here.Length >= value.Length ? here.StartsWith(value) : value.AsSpan().StartsWith(here))
            {
                partial = here.Length < value.Length;
                return value.Length;
            }
        }

        return 0;
    }

    private static IEnumerable<byte[]> Forms(byte[] value)
    {
        yield return value;
        var text = Encoding.UTF8.GetString(value);
        foreach (var line in text.Split('\n'))
        {
            yield return Encoding.UTF8.GetBytes(line.Trim());
        }
    }
}
