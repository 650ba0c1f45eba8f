namespace Kiln.Server.Storage;

/// <summary>
/// What is where in the data directory (mode 0700):
/// <code>
/// kiln.db                         names, links and the build queue (Metadata)
/// kiln.lock                       locked by the one server that uses this directory
/// blobs/sha256/ab/abcd…           bytes of blobs, verified and durable
/// blobs/sha512/…
/// uploads/ID                      bytes of uploads under way
/// relaxed                         there while a server with durability: relaxed runs; names the machine's boot
/// relaxed.unchecked               there from when the machine went down under such a server until kiln fsck has read all
/// server.id                       which of the servers that share a database this is
/// keys/secrets.key                encrypts build secrets (mode 0600)
/// keys/tokens.key                 signs bearer tokens (mode 0600)
/// audit.log                       what was changed by whom, as lines of JSON
/// node/                           what the local build node keeps: bases, steps, builds
/// journal/                        what names stand for, beside the database: to make that anew (Journal)
/// </code>
/// </summary>
internal sealed class DataDirectory : IDisposable
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private const int WouldBlock = 11;

    private readonly FileStream _lock;

    /// <summary>Makes the directory where it is absent, and locks it for this process.</summary>
    /// <param name="root">Its path.</param>
    /// <param name="durability">What is waited for when something is written into it.</param>
    /// <exception cref="ServerStartException">It cannot be used, or another server uses it.</exception>
    public DataDirectory(string root, Durability durability = Durability.Full)
    {
        Root = Path.GetFullPath(root);
        Disk = new Disk(durability);
        try
        {
            foreach (var directory in new[] { Root, Blobs, Uploads, Keys, Node, Journal })
            {
                Directory.CreateDirectory(directory, Private);
            }

            // Kept open without sharing: that is flock(2), which ends with the process, however it dies.
            _lock = new FileStream(
                Path.Combine(Root, "kiln.lock"),
                FileMode.OpenOrCreate,
                FileAccess.ReadWrite,
                FileShare.None
            );
        }
        catch (IOException e) when (e.HResult == WouldBlock)
        {
            throw new ServerStartException($"the data directory {Root} is in use by another kiln", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ServerStartException($"cannot use the data directory {Root}: {e.Message}", e);
        }
    }

    public string Root { get; }

    /// <summary>Makes durable what was written here, as far as the operator wants that.</summary>
    public Disk Disk { get; }

    public string DatabaseFile => Path.Combine(Root, "kiln.db");
    public string Blobs => Path.Combine(Root, "blobs");
    public string Uploads => Path.Combine(Root, "uploads");
    public string Keys => Path.Combine(Root, "keys");
    public string Node => Path.Combine(Root, "node");
    public string Journal => Path.Combine(Root, "journal");

    /// <summary>Whether the machine went down under a server that did not wait for its disk, and nobody has checked since.</summary>
    public string Unchecked => Path.Combine(Root, "relaxed.unchecked");

    /// <summary>What kiln fsck --repair took out of the blob store because it was damaged; absent until then.</summary>
    public string Quarantine => Path.Combine(Root, "quarantine");

    /// <summary>Tells the server of this directory from others that share a database: the same from one start to the next.</summary>
    public string ServerId()
    {
        var path = Path.Combine(Root, "server.id");
        if (!File.Exists(path))
        {
            var fresh = path + ".new";
            File.WriteAllText(fresh, Guid.NewGuid().ToString("n"));
            File.Move(fresh, path, overwrite: true);
        }

        return File.ReadAllText(path).Trim();
    }

    /// <summary>Lets another server have the directory.</summary>
    public void Dispose() => _lock.Dispose();
}
