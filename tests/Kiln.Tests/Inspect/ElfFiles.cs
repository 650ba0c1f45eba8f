using System.Buffers.Binary;
using System.Text;

namespace Kiln.Tests.Inspect;

/// <summary>Small ELF files made by hand, for any class and byte order.</summary>
internal sealed record ElfFiles
{
    private const int Headers = 6;

    public bool Wide { get; init; } = true;
    public bool Big { get; init; }
    public ushort Machine { get; init; } = 62;
    public ushort Type { get; init; } = 3;
    public uint Flags { get; init; }

    /// <summary>Bits of GNU_PROPERTY_X86_ISA_1_NEEDED; 0 for no note.</summary>
    public uint Isa { get; init; }
    public string? Interpreter { get; init; }
    public string? Soname { get; init; }
    public IReadOnlyList<string> Needed { get; init; } = [];
    public IReadOnlyList<string> VersionsNeeded { get; init; } = [];
    public IReadOnlyList<string> VersionsProvided { get; init; } = [];

    /// <summary>Bytes of nothing before the dynamic section, and before the strings.</summary>
    public int BeforeDynamic { get; init; }
    public int BeforeStrings { get; init; }

    /// <summary>The dynamic section stands before the strings, as patchelf leaves it.</summary>
    public bool DynamicFirst { get; init; }

    public static byte[] Mpi => new ElfFiles { Needed = ["libmpi.so.40", "libc.so.6"] }.Bytes();

    public byte[] Bytes()
    {
        var strings = new MemoryStream();
        strings.WriteByte(0);
        long Text(string text)
        {
            var at = strings.Length;
            strings.Write([.. Encoding.ASCII.GetBytes(text), 0]);
            return at;
        }

        var needed = Needed.Select(Text).ToList();
        var soname = Soname is null ? 0 : Text(Soname);
        var needs = Versions(VersionsNeeded.Select(Text).ToList(), head: 16, aux: 16, auxAt: 8, nameAt: 8);
        var provides = Versions(VersionsProvided.Select(Text).ToList(), head: 20, aux: 8, auxAt: 12, nameAt: 0);
        var file = new MemoryStream();
        file.Write(new byte[(Wide ? 64 : 52) + (Headers * (Wide ? 56 : 32))]);
        var segments = new List<(uint Type, long Offset, long Size)>();
        void Part(uint type, byte[] bytes)
        {
            segments.Add((type, file.Length, bytes.Length));
            file.Write(bytes);
        }

        if (Isa != 0)
        {
            Part(4, Note());
        }

        if (Interpreter is not null)
        {
            Part(3, [.. Encoding.ASCII.GetBytes(Interpreter), 0]);
        }

        List<(long Tag, long Value)> entries =
        [
            .. needed.Select(n => (1L, n)),
            .. soname == 0 ? [] : new[] { (14L, soname) },
        ];
        if (entries.Count + needs.Length + provides.Length > 0)
        {
            Dynamic(file, strings.ToArray(), needs, provides, entries, Part);
        }

        // All of it is mapped where it stands.
        segments.Insert(0, (1, 0, file.Length));
        Head(file, segments);
        return file.ToArray();
    }

    private void Dynamic(
        MemoryStream file,
        byte[] strings,
        byte[] needs,
        byte[] provides,
        List<(long Tag, long Value)> entries,
        Action<uint, byte[]> part
    )
    {
        var section = new byte[(entries.Count + 5) * (Wide ? 16 : 8)];
        var dynamicAt = file.Length + BeforeDynamic;
        if (DynamicFirst)
        {
            file.Write(new byte[BeforeDynamic]);
            part(2, section);
        }

        file.Write(new byte[BeforeStrings]);
        entries.AddRange([(5, file.Length), (10, strings.Length)]);
        file.Write(strings);
        foreach (var (tag, list) in new[] { (0x6ffffffeL, needs), (0x6ffffffcL, provides) })
        {
            if (list.Length > 0)
            {
                entries.Add((tag, file.Length));
                file.Write(list);
            }
        }

        if (!DynamicFirst)
        {
            file.Write(new byte[BeforeDynamic]);
            dynamicAt = file.Length;
            part(2, section);
        }

        file.Position = dynamicAt;
        foreach (var (tag, value) in entries)
        {
            file.Write([.. Address(tag), .. Address(value)]);
        }
    }

    private void Head(MemoryStream file, List<(uint Type, long Offset, long Size)> segments)
    {
        var table = Wide ? 64 : 52;
        file.Position = 0;
        file.Write([0x7f, .. "ELF"u8, (byte)(Wide ? 2 : 1), (byte)(Big ? 2 : 1), 1, 0, .. new byte[8]]);
        file.Write([.. Half(Type), .. Half(Machine), .. Word(1), .. Address(0), .. Address(table), .. Address(0)]);
        file.Write([.. Word(Flags), .. Half((ushort)table), .. Half((ushort)(Wide ? 56 : 32))]);
        file.Write([.. Half((ushort)segments.Count), .. new byte[6]]);
        foreach (var (type, offset, size) in segments)
        {
            file.Write(
                Wide
                    ?
                    [
                        .. Word(type),
                        .. Word(4),
                        .. Address(offset),
                        .. Address(offset),
                        .. Address(offset),
                        .. Address(size),
                        .. Address(size),
                        .. Address(8),
                    ]
                    :
                    [
                        .. Word(type),
                        .. Address(offset),
                        .. Address(offset),
                        .. Address(offset),
                        .. Address(size),
                        .. Address(size),
                        .. Word(4),
                        .. Word(4),
                    ]
            );
        }
    }

    // Before it another property, and after it another note, as linkers write them.
    private byte[] Note()
    {
        byte[] properties =
        [
            .. Word(0xc0000002),
            .. Word(4),
            .. Word(3),
            .. new byte[Wide ? 4 : 0],
            .. Word(0xc0008002),
            .. Word(4),
            .. Word(Isa),
            .. new byte[Wide ? 4 : 0],
        ];
        return
        [
            .. Word(4),
            .. Word((uint)properties.Length),
            .. Word(5),
            .. "GNU\0"u8,
            .. properties,
            .. Word(4),
            .. Word(4),
            .. Word(3),
            .. "GNU\0"u8,
            .. Word(1),
        ];
    }

    // One list of them, each a step of its own.
    private byte[] Versions(List<long> names, int head, int aux, int auxAt, int nameAt)
    {
        if (names.Count == 0)
        {
            return [];
        }

        var list = new byte[head + (names.Count * aux)];
        Half(1).CopyTo(list, 0);
        Word((uint)head).CopyTo(list, auxAt);
        for (var i = 0; i < names.Count; i++)
        {
            Word((uint)names[i]).CopyTo(list, head + (i * aux) + nameAt);
            Word((uint)(i == names.Count - 1 ? 0 : aux)).CopyTo(list, head + (i * aux) + nameAt + 4);
        }

        return list;
    }

    private byte[] Half(ushort value)
    {
        var bytes = new byte[2];
        if (Big)
        {
            BinaryPrimitives.WriteUInt16BigEndian(bytes, value);
        }
        else
        {
            BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        }

        return bytes;
    }

    private byte[] Word(uint value)
    {
        var bytes = new byte[4];
        if (Big)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        }
        else
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        }

        return bytes;
    }

    private byte[] Address(long value)
    {
        if (!Wide)
        {
            return Word((uint)value);
        }

        var bytes = new byte[8];
        if (Big)
        {
            BinaryPrimitives.WriteInt64BigEndian(bytes, value);
        }
        else
        {
            BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        }

        return bytes;
    }
}
