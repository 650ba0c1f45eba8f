namespace Kiln.Inspect.Elf;

/// <summary>
/// Reads what ELF files declare while they go by, one after the other. What is in a file is a stranger's word: nothing of
/// it leads to an exception, a loop or memory past <see cref="ElfWindow.MaxHead"/> and a few copies of parts of it.
/// </summary>
public sealed class ElfReader
{
    private const int Program = 2;
    private const int Shared = 3;
    private const uint Load = 1;
    private const uint Dynamic = 2;
    private const uint Interpreter = 3;
    private const uint Note = 4;

    // What is past these is no file that a linker made.
    private const int MaxSegments = 512;
    private const int MaxNoteBytes = 64 << 10;
    private const int MaxNotes = 16;
    private const int MaxPath = 4096;
    private const int MaxDynamicBytes = 64 << 10;
    private const int MaxVersionBytes = 256 << 10;

    private readonly ElfWindow _window = new();

    /// <summary>What the file declares; null where it is no ELF file. Reads no more of it than is needed.</summary>
    /// <param name="content">From its first byte.</param>
    /// <param name="length">Bytes that it has.</param>
    public async ValueTask<ElfFacts?> ReadAsync(Stream content, long length, CancellationToken cancel)
    {
        _window.Start(content, length);
        if (
            await _window.GetAsync(0, 4, cancel) is not { } magic
            || !ElfHeader.IsElf(magic.Span)
            || await _window.GetAsync(0, Math.Min(length, ElfHeader.Length), cancel) is not { } head
            || ElfHeader.Read(head.Span) is not { } header
        )
        {
            return null;
        }

        var facts = new ElfFacts
        {
            Machine = header.Machine,
            Bits = header.Numbers.Wide ? 64 : 32,
            Loadable = header.Type is Program or Shared,
            Abi = header.Abi,
        };
        return facts.Loadable ? await ReadAsync(header, facts, cancel) : facts;
    }

    private async ValueTask<ElfFacts> ReadAsync(ElfHeader header, ElfFacts facts, CancellationToken cancel)
    {
        var least = header.Numbers.Wide ? 56 : 32;
        if (
            header.Segments is 0 or > MaxSegments
            || header.SegmentLength < least
            || await _window.GetAsync(header.SegmentsAt, header.Segments * header.SegmentLength, cancel)
                is not { } table
        )
        {
            return facts with { Unread = true };
        }

        var segments = header.ReadSegments(table.Span);
        ReadOnlyMemory<byte>? dynamic = null;
        var notes = 0;
        // In the order of the file: what has gone by cannot be had.
        foreach (var segment in segments.Where(s => s.Type is Dynamic or Interpreter or Note).OrderBy(s => s.Offset))
        {
            var most =
                segment.Type == Dynamic ? MaxDynamicBytes
                : segment.Type == Note ? MaxNoteBytes
                : MaxPath;
            if (segment.Type == Note && (!header.IsX86 || ++notes > MaxNotes))
            {
                continue;
            }

            if (await _window.GetAsync(segment.Offset, Math.Min(segment.Size, most), cancel) is not { } bytes)
            {
                facts = facts with { Unread = true };
            }
            else if (segment.Type == Dynamic)
            {
                dynamic = bytes.ToArray();
            }
            else
            {
                facts =
                    segment.Type == Note
                        ? facts with
                        {
                            Level = Math.Max(facts.Level, ElfNotes.Level(bytes.Span, header.Numbers)),
                        }
                        : facts with
                        {
                            Interpreter = ElfStrings.At(bytes.Span, 0),
                        };
            }
        }

        return dynamic is { } section ? await ReadDynamicAsync(header, segments, section, facts, cancel) : facts;
    }

    private async ValueTask<ElfFacts> ReadDynamicAsync(
        ElfHeader header,
        List<ElfSegment> segments,
        ReadOnlyMemory<byte> section,
        ElfFacts facts,
        CancellationToken cancel
    )
    {
        var dynamic = ElfDynamic.Read(section.Span, header.Numbers);
        if (!dynamic.NeedsStrings)
        {
            return facts;
        }

        var parts = await PartsAsync(segments, dynamic, cancel);
        if (!parts.TryGetValue(dynamic.Strings, out var strings))
        {
            return facts with { Unread = true };
        }

        var needs = parts.GetValueOrDefault(dynamic.Needs).Span;
        var provides = parts.GetValueOrDefault(dynamic.Provides).Span;
        var text = strings.Span;
        return facts with
        {
            Soname = dynamic.Soname is { } name ? ElfStrings.At(text, name) : null,
            Needed = dynamic.Needed.Count == 0 ? null : ElfStrings.All(text, dynamic.Needed),
            GlibcNeeded = ElfVersions.HighestNeeded(needs, text, header.Numbers),
            GlibcProvided = ElfVersions.HighestProvided(provides, text, header.Numbers),
            Unread =
                facts.Unread || (dynamic.Needs != 0 && needs.IsEmpty) || (dynamic.Provides != 0 && provides.IsEmpty),
        };
    }

    // The bytes at the addresses of the strings and of the versions.
    private async ValueTask<Dictionary<long, ReadOnlyMemory<byte>>> PartsAsync(
        List<ElfSegment> segments,
        ElfDynamic dynamic,
        CancellationToken cancel
    )
    {
        (long Address, long Size)[] wanted =
        [
            (dynamic.Strings, dynamic.StringBytes),
            (dynamic.Needs, MaxVersionBytes),
            (dynamic.Provides, MaxVersionBytes),
        ];
        var places = wanted
            .Where(w => w.Address != 0)
            .DistinctBy(w => w.Address)
            .Select(w => (w.Address, Place: Place(segments, w.Address, w.Size)))
            .OrderBy(w => w.Place.Offset)
            .ToList();
        var parts = new Dictionary<long, ReadOnlyMemory<byte>>();
        foreach (var (address, (offset, size)) in places)
        {
            // What is not held is a copy of its own.
            if (await _window.GetAsync(offset, size, cancel) is { } bytes)
            {
                parts[address] = bytes;
            }
        }

        // What is held moves when more is. Nothing of it is copied: large libraries have megabytes of strings.
        foreach (var (address, (offset, size)) in places)
        {
            if (_window.Held(offset, size) is { } bytes)
            {
                parts[address] = bytes;
            }
        }

        return parts;
    }

    // Where in the file the bytes of an address are, and how many of those that are wanted; -1 where nowhere.
    private static (long Offset, long Size) Place(List<ElfSegment> segments, long address, long size)
    {
        foreach (var segment in segments)
        {
            var from = address - segment.Address;
            if (segment.Type == Load && segment.Offset >= 0 && from >= 0 && from < segment.Size)
            {
                return (segment.Offset + from, Math.Min(size, segment.Size - from));
            }
        }

        return (-1, 0);
    }
}
