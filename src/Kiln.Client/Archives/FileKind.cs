using System.Runtime.InteropServices;

namespace Kiln.Client.Archives;

/// <summary>What a path is, by the kernel's word, without following a link and without opening anything.</summary>
public enum FileKind
{
    /// <summary>A file with bytes.</summary>
    Regular,

    /// <summary>A directory.</summary>
    Directory,

    /// <summary>A symbolic link.</summary>
    SymbolicLink,

    /// <summary>A socket, pipe or device: opening one can block or do harm.</summary>
    Special,
}

/// <summary>Looks at a path with statx(2), whose layout is the same on every architecture.</summary>
public static partial class FileStatus
{
    private const int AtFdcwd = -100;
    private const int AtSymlinkNofollow = 0x100;
    private const uint StatxTypeAndMode = 0x3;
    private const int StatxBytes = 256;
    private const int ModeOffset = 28;
    private const int TypeMask = 0xF000;

    /// <summary>What is at a path, and its mode.</summary>
    /// <exception cref="IOException">The path cannot be looked at.</exception>
    public static (FileKind Kind, UnixFileMode Mode) Of(string path)
    {
        Span<byte> buffer = stackalloc byte[StatxBytes];
        if (Statx(AtFdcwd, path, AtSymlinkNofollow, StatxTypeAndMode, buffer) != 0)
        {
            throw new IOException($"{path}: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        var mode = MemoryMarshal.Read<ushort>(buffer[ModeOffset..]);
        var kind = (mode & TypeMask) switch
        {
            0x8000 => FileKind.Regular,
            0x4000 => FileKind.Directory,
            0xA000 => FileKind.SymbolicLink,
            _ => FileKind.Special,
        };
        return (kind, (UnixFileMode)(mode & 0xFFF));
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int directory, string path, int flags, uint mask, Span<byte> buffer);
}
