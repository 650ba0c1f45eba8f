using System.Buffers;

namespace Kiln.Server.Registry;

/// <summary>
/// Buffers that blobs pass through. Large ones are a third faster, but a thousand slow clients would hold a thousand of
/// them: beyond a fixed number, a transfer gets a small one.
/// </summary>
internal sealed class TransferBuffers
{
    /// <summary>Large buffers at one time.</summary>
    public const int MaxLarge = 64;

    /// <summary>Bytes of a small buffer.</summary>
    public const int Small = 16 << 10;

    private int _large;

    /// <summary>A buffer for one transfer; give it back with <see cref="Return"/>.</summary>
    /// <param name="size">Bytes that would be best.</param>
    /// <returns>At least that many bytes, or a small buffer where too many large ones are out.</returns>
    public byte[] Rent(int size)
    {
        if (size > Small && Interlocked.Increment(ref _large) <= MaxLarge)
        {
            return ArrayPool<byte>.Shared.Rent(size);
        }

        if (size > Small)
        {
            Interlocked.Decrement(ref _large);
        }

        return ArrayPool<byte>.Shared.Rent(Math.Min(size, Small));
    }

    public void Return(byte[] buffer)
    {
        // The pool's sizes are powers of two: only what was asked for as large is longer than a small one.
        if (buffer.Length > Small)
        {
            Interlocked.Decrement(ref _large);
        }

        ArrayPool<byte>.Shared.Return(buffer);
    }
}
