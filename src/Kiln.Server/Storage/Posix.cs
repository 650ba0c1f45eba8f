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

    /// <summary>Makes the names in a directory durable: without it a rename may be lost with the power.</summary>
    public static void FlushDirectory(string path)
    {
        using var directory = Open(path, ReadOnly | Directory | CloseOnExec);
        if (directory.IsInvalid || Flush(directory) != 0)
        {
            throw new IOException($"cannot flush {path}", new Win32Exception(Marshal.GetLastPInvokeError()));
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Flush(SafeFileHandle file);
}
