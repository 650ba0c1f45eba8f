namespace Kiln.Node;

/// <summary>
/// What a node keeps on disk (mode 0700):
/// <code>
/// jail.sh          what makes a build's namespaces
/// bases/HEX/       base images by manifest digest (Fetching)
/// steps/SCOPE/N/   cached steps (Engines)
/// builds/LEASE/    one directory for each build under way; nothing of it outlives the build
/// </code>
/// </summary>
internal sealed class NodeDirectory
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    public NodeDirectory(string root)
    {
        Root = Path.GetFullPath(root);
        foreach (var directory in new[] { Root, Bases, Steps, Builds })
        {
            Directory.CreateDirectory(directory, OwnerOnly);
        }
    }

    public string Root { get; }
    public string Bases => Path.Combine(Root, "bases");
    public string Steps => Path.Combine(Root, "steps");
    public string Builds => Path.Combine(Root, "builds");

    public string CreateBuild(string lease) =>
        Directory.CreateDirectory(Path.Combine(Builds, lease), OwnerOnly).FullName;
}
