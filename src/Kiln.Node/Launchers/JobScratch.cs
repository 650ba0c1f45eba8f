using Kiln.Node.Sandbox;

namespace Kiln.Node.Launchers;

/// <summary>
/// A job's own directory on its machine's disk, held by a lock so that a later job knows which ones were left by jobs that
/// were killed. The place may be open to everybody: what is there already is somebody else's and not used, so the name
/// must be one that nobody guesses.
/// </summary>
internal sealed class JobScratch : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private readonly string _lock;
    private readonly FileStream _held;

    /// <exception cref="IOException">It cannot be made there.</exception>
    public JobScratch(string root, string name)
    {
        Directory = Path.Combine(root, name);
        _lock = Directory + ".lock";
        _held = new FileStream(
            _lock,
            new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }
        );
        try
        {
            Posix.MakeDirectory(Directory, OwnerOnly);
        }
        catch
        {
            // What is there is somebody else's.
            File.Delete(_lock);
            _held.Dispose();
            throw;
        }
    }

    public string Directory { get; }

    /// <summary>
    /// Makes the place that an operator named, where the directory that it is to be in is there. For this account alone: in one
    /// that is open to all, as /tmp, its owner can put something else in place of what others have there, so that root makes it.
    /// </summary>
    /// <exception cref="IOException">It is not there, and cannot be made.</exception>
    public static void MakeRoot(string root)
    {
        if (System.IO.Directory.Exists(root))
        {
            return;
        }

        try
        {
            Posix.MakeDirectory(root, OwnerOnly);
        }
        catch (IOException) when (System.IO.Directory.Exists(root))
        {
            // Another job has made it meanwhile.
        }
        catch (IOException e)
        {
            throw new IOException(
                $"the scratch directory {root} is not there on {Environment.MachineName}, and cannot be made: {e.InnerException?.Message ?? e.Message} (scratch in node.yaml)",
                e
            );
        }
    }

    /// <summary>What killed jobs of this user have left in <paramref name="root"/>; each is this job's to remove.</summary>
    public static IEnumerable<string> Left(string root, string prefix)
    {
        foreach (var file in System.IO.Directory.EnumerateFiles(root, prefix + "*.lock"))
        {
            FileStream held;
            try
            {
                held = new FileStream(file, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Its job lives, or is another user's.
                continue;
            }

            using (held)
            {
                var left = file[..^".lock".Length];
                yield return left;
                // What could not be removed whole is the next job's.
                if (!Path.Exists(left))
                {
                    Unlock(file);
                }
            }
        }
    }

    private static void Unlock(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (UnauthorizedAccessException)
        {
            // Another user's, in a directory where everybody removes their own only.
        }
    }

    public void Dispose()
    {
        // Without its lock nobody would ever remove what is left.
        if (!Path.Exists(Directory))
        {
            File.Delete(_lock);
        }

        _held.Dispose();
    }
}
