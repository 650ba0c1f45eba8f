using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Kiln.Node.Sandbox;

/// <summary>The few system calls that the framework has no word for. Values are Linux's, the same on x86-64 and arm64 but for one.</summary>
internal static partial class Posix
{
    private const int SeekEnd = 2;
    private const int SignalKill = 9;
    private const int ReadOnly = 0;
    private const int NonBlocking = 0x800;
    private const int CloseOnExec = 0x80000;

    // O_NOFOLLOW is one of the few flags that differ by architecture.
    private static readonly int NoFollow =
        RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;

    /// <summary>
    /// Opens a regular file for reading without following a link; null for everything else. A FIFO does not block it.
    /// </summary>
    public static SafeFileHandle? OpenRegularFile(string path)
    {
        var handle = Open(path, ReadOnly | NonBlocking | CloseOnExec | NoFollow);
        if (!handle.IsInvalid && !Directory.Exists(path) && Seek(handle, 0, SeekEnd) >= 0 && Seek(handle, 0, 0) == 0)
        {
            return handle;
        }

        handle.Dispose();
        return null;
    }

    /// <summary>Makes a directory that is not there yet, as nothing in the framework does.</summary>
    /// <exception cref="IOException">Something of that name is there, or it cannot be made.</exception>
    public static void MakeDirectory(string path, UnixFileMode mode)
    {
        if (MakeDirectory(path, (int)mode) != 0)
        {
            throw new IOException(
                $"cannot make the directory {path}",
                new Win32Exception(Marshal.GetLastPInvokeError())
            );
        }
    }

    [LibraryImport("libc", EntryPoint = "mkdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakeDirectory(string path, int mode);

    /// <summary>Kills a process group; nothing happens where it has ended.</summary>
    public static void KillGroup(int leader) => _ = Kill(-leader, SignalKill);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int process, int signal);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "lseek64", SetLastError = true)]
    private static partial long Seek(SafeFileHandle file, long offset, int whence);
}
