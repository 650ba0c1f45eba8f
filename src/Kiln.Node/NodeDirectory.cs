using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Kiln.Node.Sandbox;

namespace Kiln.Node;

/// <summary>
/// What a node keeps on disk (mode 0700):
/// <code>
/// jail.sh          what makes a build's namespaces
/// bases/HEX/       base images by manifest digest (Fetching)
/// steps/SCOPE/N/   cached steps (Engines)
/// builds/LEASE/    one directory for each build under way; nothing of it outlives the build
/// spool/           blobs on their way to or from a registry elsewhere
/// notifications/   what other registries have told, and builds and logs that came of it (Notifications)
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

    /// <summary>The place on another disk for what a node keeps in <paramref name="root"/> by default: the same at each start.</summary>
    /// <param name="root">The node's directory.</param>
    /// <param name="disk">A directory that others may write to as well.</param>
    /// <exception cref="IOException">Somebody else has taken it, or it cannot be made.</exception>
    public static NodeDirectory On(string disk, string root)
    {
        var name = Convert.ToHexStringLower(
            SHA256.HashData(Encoding.UTF8.GetBytes(Path.GetFullPath(root))).AsSpan(0, 8)
        );
        var (_, uid) = UserNamespace.Account();
        var place = Path.Combine(disk, string.Create(CultureInfo.InvariantCulture, $"kiln-node-{uid}-{name}"));
        Posix.OwnDirectory(place, OwnerOnly);
        return new NodeDirectory(place);
    }

    public string Root { get; }
    public string Bases => Path.Combine(Root, "bases");
    public string Steps => Path.Combine(Root, "steps");
    public string Builds => Path.Combine(Root, "builds");

    /// <summary>Deletes the secrets of builds that a killed node left; the rest of them needs a user namespace to go.</summary>
    public void DeleteSecrets()
    {
        foreach (var build in Directory.EnumerateDirectories(Builds))
        {
            var secrets = new DirectoryInfo(SecretsOf(build));
            try
            {
                if (secrets is { Exists: true, LinkTarget: null })
                {
                    secrets.Delete(recursive: true);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The build put something there that only its own namespace can remove; it goes with the rest.
            }
        }
    }

    /// <summary>Where a build finds its secrets, below its own directory.</summary>
    public static string SecretsOf(string build) => Path.Combine(build, "build", "secrets");

    public string CreateBuild(string lease) =>
        Directory.CreateDirectory(Path.Combine(Builds, lease), OwnerOnly).FullName;
}
