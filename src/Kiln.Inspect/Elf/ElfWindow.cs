namespace Kiln.Inspect.Elf;

/// <summary>
/// Parts of a file that can only be read forwards: its beginning, up to <see cref="MaxHead"/>, is held as far as it was
/// needed, and what lies further on can be had once, in the order of the file.
/// </summary>
internal sealed class ElfWindow
{
    /// <summary>
    /// Bytes of a file's beginning that are held at most. The strings of its dynamic section stand there in all but a few
    /// libraries of hundreds of megabytes.
    /// </summary>
    public const int MaxHead = 8 << 20;

    private const int Chunk = 64 << 10;
    private const int Large = 512 << 10;

    private readonly byte[] _passed = new byte[Chunk];
    private byte[] _head = new byte[Chunk];
    private Stream _content = Stream.Null;
    private int _held;
    private long _position;
    private long _length;

    /// <summary>Goes to the beginning of another file.</summary>
    public void Start(Stream content, long length)
    {
        (_content, _length) = (content, length);
        (_held, _position) = (0, 0);
    }

    /// <summary>
    /// Some bytes of the file; null where it has not that many there, or they have gone by. Good until the next call.
    /// </summary>
    /// <param name="count">At most <see cref="MaxHead"/>.</param>
    public async ValueTask<ReadOnlyMemory<byte>?> GetAsync(long offset, long count, CancellationToken cancel)
    {
        if (offset < 0 || count is < 0 or > MaxHead || offset > _length - count)
        {
            return null;
        }

        await HoldAsync((int)Math.Min(offset + count, MaxHead), cancel);
        if (Held(offset, count) is { } held)
        {
            return held;
        }

        if (offset < _position)
        {
            return null;
        }

        while (_position < offset)
        {
            var part = (int)Math.Min(_passed.Length, offset - _position);
            if (!await FillAsync(_passed.AsMemory(0, part), cancel))
            {
                return null;
            }
        }

        var bytes = new byte[count];
        return await FillAsync(bytes, cancel) ? bytes : null;
    }

    /// <summary>The same, of what is held already; null where it is not. Good until the next call of <see cref="GetAsync"/>.</summary>
    public ReadOnlyMemory<byte>? Held(long offset, long count)
    {
        if (offset < 0 || count < 0 || offset > _held - count)
        {
            return null;
        }

        return _head.AsMemory((int)offset, (int)count);
    }

    // Once something behind it was read, the beginning grows no more.
    private async ValueTask HoldAsync(int count, CancellationToken cancel)
    {
        while (_held < count && _position == _held)
        {
            if (_held == _head.Length)
            {
                Grow();
            }

            var part = Math.Min(Math.Min(Chunk, _head.Length - _held), count - _held);
            if (!await FillAsync(_head.AsMemory(_held, part), cancel))
            {
                return;
            }

            _held += part;
        }
    }

    // To all of it at once where it is large: what is not written to takes no memory, what was outgrown does until it is collected.
    private void Grow()
    {
        var larger = GC.AllocateUninitializedArray<byte>(_head.Length < Large ? _head.Length * 2 : MaxHead);
        _head.AsSpan(0, _held).CopyTo(larger);
        _head = larger;
    }

    private async ValueTask<bool> FillAsync(Memory<byte> bytes, CancellationToken cancel)
    {
        var read = await _content.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, cancel);
        _position += read;
        return read == bytes.Length;
    }
}
