using System.Buffers.Binary;
using System.Text;
using Kiln.Oci;

namespace Kiln.Node.Deriving;

/// <summary>
/// The Singularity Image Format, version 01, as far as it is needed: a header, a table of descriptors, and one object, the
/// file system that Apptainer and Singularity mount as the root. All numbers are little-endian.
/// </summary>
internal static class SifFile
{
    /// <summary>Where the file system begins: after header and table, at a page's beginning.</summary>
    public const int FileSystemAt = 32768;

    // The table: where it begins, how many descriptors it has room for, and how long each is.
    private const int TableAt = 4096;
    private const int Descriptors = 48;
    private const int DescriptorBytes = 585;
    private const int DataAt = TableAt + (Descriptors * DescriptorBytes);

    private const int Partition = 0x4004;
    private const int GroupOne = unchecked((int)0xf0000001);
    private const int Squashfs = 1;
    private const int PrimarySystem = 2;

    private const string Launch = "#!/usr/bin/env run-singularity\n";
    private const string FileSystemName = "root.squashfs";

    /// <summary>The code of an architecture by Go's name; null for one that the format has none for.</summary>
    public static string? ArchitectureCode(string architecture) =>
        architecture switch
        {
            "386" => "01",
            "amd64" => "02",
            "arm" => "03",
            "arm64" => "04",
            "ppc64" => "05",
            "ppc64le" => "06",
            "mips" => "07",
            "mipsle" => "08",
            "mips64" => "09",
            "mips64le" => "10",
            "s390x" => "11",
            "riscv64" => "12",
            _ => null,
        };

    /// <summary>All that comes before the file system, <see cref="FileSystemAt"/> bytes.</summary>
    /// <param name="code">Of <see cref="ArchitectureCode"/>.</param>
    /// <param name="length">Bytes of the file system.</param>
    /// <param name="image">The image of which it is made: the same image gives the same file.</param>
    /// <param name="time">Seconds since 1970.</param>
    public static byte[] Head(string code, long length, Digest image, long time)
    {
        var head = new byte[FileSystemAt];
        Encoding.ASCII.GetBytes(Launch).CopyTo(head, 0);
        Encoding.ASCII.GetBytes("SIF_MAGIC\0").CopyTo(head, 32);
        Encoding.ASCII.GetBytes("01\0").CopyTo(head, 42);
        Encoding.ASCII.GetBytes(code + "\0").CopyTo(head, 45);
        Uuid(image).CopyTo(head, 48);
        long[] numbers =
        [
            time,
            time,
            Descriptors - 1,
            Descriptors,
            TableAt,
            Descriptors * DescriptorBytes,
            DataAt,
            FileSystemAt + length - DataAt,
        ];
        for (var i = 0; i < numbers.Length; i++)
        {
            Long(head, 64 + (8 * i), numbers[i]);
        }

        Describe(head.AsSpan(TableAt, DescriptorBytes), code, length, time);
        return head;
    }

    // type, in use, id, group, link, offset, size, size with padding, created, modified, user, group, name, and what is
    // special to a partition: its file system, its kind, its architecture.
    private static void Describe(Span<byte> descriptor, string code, long length, long time)
    {
        Int(descriptor, 0, Partition);
        descriptor[4] = 1;
        Int(descriptor, 5, 1);
        Int(descriptor, 9, GroupOne);
        Int(descriptor, 13, 0);
        long[] numbers = [FileSystemAt, length, FileSystemAt + length - DataAt, time, time, 0, 0];
        for (var i = 0; i < numbers.Length; i++)
        {
            BinaryPrimitives.WriteInt64LittleEndian(descriptor[(17 + (8 * i))..], numbers[i]);
        }

        Encoding.ASCII.GetBytes(FileSystemName).CopyTo(descriptor[73..]);
        Int(descriptor, 201, Squashfs);
        Int(descriptor, 205, PrimarySystem);
        Encoding.ASCII.GetBytes(code + "\0").CopyTo(descriptor[209..]);
    }

    // RFC 9562, 5.8: bits of one's own choice under version 8.
    private static byte[] Uuid(Digest image)
    {
        var bytes = Convert.FromHexString(image.Encoded[..32]);
        bytes[6] = (byte)((bytes[6] & 0x0f) | 0x80);
        bytes[8] = (byte)((bytes[8] & 0x3f) | 0x80);
        return bytes;
    }

    private static void Int(Span<byte> at, int offset, int value) =>
        BinaryPrimitives.WriteInt32LittleEndian(at[offset..], value);

    private static void Long(byte[] at, int offset, long value) =>
        BinaryPrimitives.WriteInt64LittleEndian(at.AsSpan(offset), value);
}
