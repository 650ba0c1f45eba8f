namespace Kiln.Server.Storage;

/// <summary>
/// What is where in the data directory (mode 0700):
/// <code>
/// kiln.db                         names, links and the build queue (Metadata)
/// blobs/sha256/ab/abcd…           bytes of blobs, verified and durable
/// blobs/sha512/…
/// uploads/ID                      bytes of uploads under way
/// keys/secrets.key                encrypts build secrets (mode 0600)
/// node/                           what the local build node keeps: bases, steps, builds
/// tags.journal                    append-only, so that the database can be rebuilt
/// </code>
/// </summary>
internal sealed class DataDirectory
{
    public DataDirectory(string root)
    {
        Root = Path.GetFullPath(root);
        Directory.CreateDirectory(Root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        foreach (var directory in new[] { Blobs, Uploads, Keys, Node })
        {
            Directory.CreateDirectory(
                directory,
                UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
            );
        }
    }

    public string Root { get; }
    public string DatabaseFile => Path.Combine(Root, "kiln.db");
    public string Blobs => Path.Combine(Root, "blobs");
    public string Uploads => Path.Combine(Root, "uploads");
    public string Keys => Path.Combine(Root, "keys");
    public string Node => Path.Combine(Root, "node");
    public string TagJournal => Path.Combine(Root, "tags.journal");
}
