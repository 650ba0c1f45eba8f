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

    // O_NOFOLLOW and O_DIRECTORY are two of the few flags that differ by architecture.
    private static readonly int NoFollow =
        RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;
    private static readonly int DirectoryOnly =
        RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;

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

    /// <summary>
    /// Makes sure that a directory is there, that it is this account's own, and that nobody else may look into it. In a directory
    /// that is open to all but sticky (/var/tmp) it stays so.
    /// </summary>
    /// <exception cref="IOException">It is somebody else's, or no directory, or it cannot be made.</exception>
    public static void OwnDirectory(string path, UnixFileMode mode)
    {
        if (!Path.Exists(path))
        {
            MakeDirectory(path, mode);
        }

        using var handle = Open(path, ReadOnly | CloseOnExec | NoFollow | DirectoryOnly);
        try
        {
            // By its handle: between two looks at a name it can become another thing. Only an owner changes a mode.
            if (!handle.IsInvalid)
            {
                File.SetUnixFileMode(handle, mode);
                return;
            }
        }
        catch (UnauthorizedAccessException)
        {
            // Said below.
        }

        throw new IOException($"{path} is not a directory of this account's own");
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
