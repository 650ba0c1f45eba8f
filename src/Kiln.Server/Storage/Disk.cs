using Microsoft.Win32.SafeHandles;

namespace Kiln.Server.Storage;

/// <summary>
/// What must be on the disk before an answer is given goes through here: with <see cref="Durability.Relaxed"/> nothing waits
/// for the disk, and the kernel writes when it likes.
/// </summary>
internal sealed class Disk(Durability durability)
{
    /// <summary>Whether what is acknowledged is on the disk.</summary>
    public bool IsSynced => durability == Durability.Full;

    /// <summary>The bytes of a file.</summary>
    public void Flush(SafeFileHandle file)
    {
        if (IsSynced)
        {
            RandomAccess.FlushToDisk(file);
        }
    }

    /// <summary>Has the disk begin with what will be flushed later, where anything will.</summary>
    public void Begin(SafeFileHandle file, long offset, long length)
    {
        if (IsSynced)
        {
            Posix.StartWriting(file, offset, length);
        }
    }

    /// <summary>The names in a directory.</summary>
    public void FlushDirectory(string path)
    {
        if (IsSynced)
        {
            Posix.FlushDirectory(path);
        }
    }

    /// <summary>All that was written to the file system of a directory.</summary>
    public void FlushFileSystem(string path)
    {
        if (IsSynced)
        {
            Posix.FlushFileSystem(path);
        }
    }
}
