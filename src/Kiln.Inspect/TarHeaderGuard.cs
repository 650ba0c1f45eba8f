namespace Kiln.Inspect;

/// <summary>
/// Goes before the tar reader of .NET and knows, as it does, where the headers are: that one reads a pax header or a long
/// name as a whole, whatever size it claims to have, and would take two gigabytes for a blob of a few kilobytes. Here it
/// is refused by its size.
/// </summary>
/// <remarks>
/// Where the archive can be sought in, so can this: forwards, over what is no header. So the content of a file of many
/// gigabytes is not read to find what is behind it.
/// </remarks>
public sealed class TarHeaderGuard(Stream inner) : WrappingStream(inner)
{
    /// <summary>Bytes of one pax header or long name. Attributes have 64 KiB at most on Linux, and there are few.</summary>
    public const int MaxMetaBytes = 1 << 20;

    private const int Block = TarHeader.Block;
    private readonly byte[] _header = new byte[Block];
    private int _filled;

    // Of what follows a header: bytes still to come, and whether they are a pax header that may say the next entry's size.
    private long _left;
    private MemoryStream? _pax;
    private long? _size;
    private bool _ended;

    public override bool CanSeek => Inner.CanSeek;
    public override long Length => Inner.Length;

    public override long Position
    {
        get => Inner.Position;
        set => Seek(value, SeekOrigin.Begin);
    }

    /// <exception cref="InvalidDataException">It goes backwards, as a size does that is larger than files can be.</exception>
    public override long Seek(long offset, SeekOrigin origin)
    {
        var skipped = origin is SeekOrigin.Begin ? offset - Position : -1;
        if (skipped < 0)
        {
            throw new InvalidDataException("an entry's size is not a number");
        }

        // What a pax header says is needed, and a header that the tar reader does not know of is looked at all the same.
        var unread = _pax is null ? Math.Min(skipped, _left) : 0;
        _left -= unread;
        Inner.Position += unread;
        Span<byte> block = stackalloc byte[Block];
        for (var left = skipped - unread; left > 0 && !_ended; )
        {
            var count = Read(block[..(int)Math.Min(Block, left)]);
            left = count == 0 ? 0 : left - count;
        }

        return Inner.Position = offset;
    }

    public override int Read(Span<byte> buffer)
    {
        CheckRequest(buffer.Length);
        var count = Inner.Read(buffer);
        Follow(buffer[..count]);
        return count;
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        CheckRequest(buffer.Length);
        var count = await Inner.ReadAsync(buffer, cancellationToken);
        Follow(buffer.Span[..count]);
        return count;
    }

    // Should the two ever disagree on where a header is: nobody asks for so much at once but for a header.
    private static void CheckRequest(int length)
    {
        if (length > 2 * MaxMetaBytes)
        {
            throw TooLarge(length);
        }
    }

    private void Follow(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && !_ended)
        {
            var part = _left > 0 ? (int)Math.Min(bytes.Length, _left) : Math.Min(bytes.Length, Block - _filled);
            if (_left > 0)
            {
                _pax?.Write(bytes[..part]);
                _left -= part;
            }
            else
            {
                bytes[..part].CopyTo(_header.AsSpan(_filled));
                _filled += part;
            }

            bytes = bytes[part..];
            if (_left == 0 && _pax is not null)
            {
                _size = TarHeader.SizeIn(_pax.GetBuffer().AsSpan(0, (int)_pax.Length)) ?? _size;
                _pax = null;
            }

            if (_filled == Block)
            {
                _filled = 0;
                Header();
            }
        }
    }

    private void Header()
    {
        if (_header.AsSpan().IndexOfAnyExcept((byte)0) < 0)
        {
            _ended = true;
            return;
        }

        var size = TarHeader.Size(_header);
        switch (TarHeader.Type(_header))
        {
            case 'x' or 'g' or 'L' or 'K':
                if (size > MaxMetaBytes)
                {
                    throw TooLarge(size);
                }

                _pax = TarHeader.Type(_header) == 'x' && size > 0 ? new MemoryStream() : null;
                break;
            default:
                size = _size ?? size;
                _size = null;
                break;
        }

        _left = TarHeader.Padded(size);
    }

    private static OversizeException TooLarge(long size) =>
        new($"the archive has a header of {size} bytes; {MaxMetaBytes} is the limit");
}
