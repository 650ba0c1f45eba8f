using System.Buffers.Binary;

namespace Kiln.Inspect.Elf;

/// <summary>Numbers as a file's class and byte order have them (System V gABI, chapter 4, "Data Representation").</summary>
internal readonly record struct ElfNumbers(bool Wide, bool Big)
{
    public ushort Half(ReadOnlySpan<byte> bytes) =>
        Big ? BinaryPrimitives.ReadUInt16BigEndian(bytes) : BinaryPrimitives.ReadUInt16LittleEndian(bytes);

    public uint Word(ReadOnlySpan<byte> bytes) =>
        Big ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt32LittleEndian(bytes);

    /// <summary>An address or offset: 4 or 8 bytes. One that no file can have is negative.</summary>
    public long Address(ReadOnlySpan<byte> bytes) =>
        !Wide ? Word(bytes)
        : Big ? BinaryPrimitives.ReadInt64BigEndian(bytes)
        : BinaryPrimitives.ReadInt64LittleEndian(bytes);
}

/// <summary>A part of the file that is mapped, or that says something of it.</summary>
internal readonly record struct ElfSegment(uint Type, long Offset, long Address, long Size);

/// <summary>The header of an ELF file (System V gABI, chapter 4, "ELF Header"), which says where the rest is.</summary>
internal sealed record ElfHeader
{
    public const int Length = 64;
    private const int Narrow = 52;

    public required ElfNumbers Numbers { get; init; }
    public required int Type { get; init; }
    public required int MachineNumber { get; init; }
    public required uint Flags { get; init; }
    public required long SegmentsAt { get; init; }
    public required int SegmentLength { get; init; }
    public required int Segments { get; init; }

    public static bool IsElf(ReadOnlySpan<byte> bytes) => bytes.StartsWith("\x7f"u8) && bytes[1..].StartsWith("ELF"u8);

    /// <param name="bytes">The first ones of a file.</param>
    /// <returns>Null where they are no header.</returns>
    public static ElfHeader? Read(ReadOnlySpan<byte> bytes)
    {
        // EI_CLASS, EI_DATA
        if (bytes.Length < Narrow || !IsElf(bytes) || bytes[4] is not (1 or 2) || bytes[5] is not (1 or 2))
        {
            return null;
        }

        var numbers = new ElfNumbers(bytes[4] == 2, bytes[5] == 2);
        if (numbers.Wide && bytes.Length < Length)
        {
            return null;
        }

        var rest = bytes[(numbers.Wide ? 48 : 36)..];
        return new ElfHeader
        {
            Numbers = numbers,
            Type = numbers.Half(bytes[16..]),
            MachineNumber = numbers.Half(bytes[18..]),
            SegmentsAt = numbers.Address(bytes[(numbers.Wide ? 32 : 28)..]),
            Flags = numbers.Word(rest),
            SegmentLength = numbers.Half(rest[6..]),
            Segments = numbers.Half(rest[8..]),
        };
    }

    /// <summary>The segments in <paramref name="table"/>.</summary>
    public List<ElfSegment> ReadSegments(ReadOnlySpan<byte> table)
    {
        var segments = new List<ElfSegment>(table.Length / SegmentLength);
        for (; table.Length >= SegmentLength; table = table[SegmentLength..])
        {
            segments.Add(
                Numbers.Wide
                    ? new(
                        Numbers.Word(table),
                        Numbers.Address(table[8..]),
                        Numbers.Address(table[16..]),
                        Numbers.Address(table[32..])
                    )
                    : new(
                        Numbers.Word(table),
                        Numbers.Address(table[4..]),
                        Numbers.Address(table[8..]),
                        Numbers.Address(table[16..])
                    )
            );
        }

        return segments;
    }

    // Named as uname -m does; numbers are those of the gABI's registry (e_machine).
    public string Machine =>
        MachineNumber switch
        {
            3 => "i386",
            8 => Numbers.Wide ? "mips64" : "mips",
            20 => "ppc",
            21 => Numbers.Big ? "ppc64" : "ppc64le",
            22 => Numbers.Wide ? "s390x" : "s390",
            40 => "arm",
            43 => "sparc64",
            50 => "ia64",
            62 => "x86_64",
            183 => Numbers.Big ? "aarch64_be" : "aarch64",
            190 => "cuda",
            224 => "amdgpu",
            243 => Numbers.Wide ? "riscv64" : "riscv32",
            247 => "bpf",
            258 => "loongarch64",
            var other => $"em-{other}",
        };

    public bool IsX86 => MachineNumber is 3 or 62;

    /// <summary>RISC-V ELF psABI, "File Header"; ELF for the Arm Architecture, 5.3.1.</summary>
    public string? Abi =>
        MachineNumber switch
        {
            243 => (Numbers.Wide ? "lp64" : "ilp32")
                + (
                    (Flags & 6) switch
                    {
                        2 => "f",
                        4 => "d",
                        6 => "q",
                        _ => "",
                    }
                )
                + ((Flags & 1) != 0 ? ",rvc" : ""),
            40 when (Flags & 0x400) != 0 => "hard-float",
            40 when (Flags & 0x200) != 0 => "soft-float",
            _ => null,
        };
}
