using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Storage;

/// <summary>The calls of Linux that .NET has no name for.</summary>
internal static partial class Posix
{
    private const int ReadOnly = 0;
    private const int Directory = 0x10000;
    private const int CloseOnExec = 0x80000;

    // SYNC_FILE_RANGE_WRITE
    private const uint StartWrite = 2;

    // RWF_NOWAIT
    private const int NoWait = 8;

    /// <summary>Makes the names in a directory durable: without it a rename may be lost with the power.</summary>
    public static void FlushDirectory(string path)
    {
        using var directory = Open(path, ReadOnly | Directory | CloseOnExec);
        if (directory.IsInvalid || Flush(directory) != 0)
        {
            throw new IOException($"cannot flush {path}", new Win32Exception(Marshal.GetLastPInvokeError()));
        }
    }

    /// <summary>Reads what of a file is in memory already; fewer bytes than there are, or the end as 0.</summary>
    /// <returns>Less than 0 where that needs the disk, or this file system cannot tell.</returns>
    public static unsafe int ReadCached(SafeFileHandle file, Span<byte> buffer, long offset)
    {
        fixed (byte* bytes = buffer)
        {
            var vector = new Vector { Base = (nint)bytes, Length = (nuint)buffer.Length };
            return (int)ReadVector(file, &vector, 1, offset, NoWait);
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Vector
    {
        public nint Base;
        public nuint Length;
    }

    [LibraryImport("libc", EntryPoint = "preadv2")]
    private static unsafe partial nint ReadVector(
        SafeFileHandle file,
        Vector* vectors,
        int count,
        long offset,
        int flags
    );

    /// <summary>Makes all that was written to the file system of a directory durable.</summary>
    public static void FlushFileSystem(string path)
    {
        using var directory = Open(path, ReadOnly | Directory | CloseOnExec);
        if (directory.IsInvalid || FlushAll(directory) != 0)
        {
            throw new IOException(
                $"cannot flush the file system of {path}",
                new Win32Exception(Marshal.GetLastPInvokeError())
            );
        }
    }

    /// <summary>
    /// Has the kernel begin to write a part of a file to the disk, and waits for nothing: no promise, only a shorter wait
    /// for the flush that makes one. Where that is not to be had, nothing happens.
    /// </summary>
    public static void StartWriting(SafeFileHandle file, long offset, long length) =>
        _ = SyncRange(file, offset, length, StartWrite);

    [LibraryImport("libc", EntryPoint = "sync_file_range")]
    private static partial int SyncRange(SafeFileHandle file, long offset, long length, uint flags);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    private static partial int FlushAll(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Flush(SafeFileHandle file);
}
