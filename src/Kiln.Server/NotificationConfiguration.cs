using System.Net;
using Kiln.Client.Credentials;
using Kiln.Node.Notifications;
using Kiln.Oci;
using Kiln.Server.Configuration;
using Kiln.Server.Configuration.Sections;

namespace Kiln.Server;

/// <summary>What stands in the file of <c>kiln node --watch-notifications</c> (docs/guide/notifications.md).</summary>
internal sealed record NotificationFile
{
    public string? Builder { get; init; }
    public IReadOnlyList<string> AllowBases { get; init; } = [];
    public IReadOnlyList<string> DenyBases { get; init; } = [];
    public int MaxWaiting { get; init; } = 1000;
    public int KeepBuilds { get; init; } = 200;
    public IReadOnlyList<NotificationFileRegistry> Registries { get; init; } = [];
}

/// <inheritdoc cref="WatchedRegistry"/>
internal sealed record NotificationFileRegistry
{
    public string Name { get; init; } = "";
    public string Host { get; init; } = "";
    public IReadOnlyList<string> Aliases { get; init; } = [];
    public IReadOnlyList<string> Repositories { get; init; } = [];
    public string? SecretFile { get; init; }
    public string? User { get; init; }
    public string? PasswordFile { get; init; }
    public bool OptIn { get; init; }
    public int BuildsPerHour { get; init; } = 60;
    public IReadOnlyList<string> PrivateBases { get; init; } = [];
    public bool AttachFailures { get; init; } = true;
}

/// <summary>
/// Reads the configuration of a node that builds on notifications. It is here, where operators' files are read, so that all of
/// them are read in one way, with all their mistakes told at once.
/// </summary>
public static class NotificationConfiguration
{
    private const int MaxBytes = 1 << 20;

    /// <summary>Reads a file.</summary>
    /// <param name="listen">Where notifications are taken.</param>
    /// <param name="directory">Where they are kept.</param>
    /// <param name="node">What the node calls itself.</param>
    /// <param name="logins">The account's own logins, for registries of which the file has none.</param>
    /// <returns>The options; where there are faults, they are of no use.</returns>
    public static (NotificationOptions Options, IReadOnlyList<string> Faults) Load(
        string file,
        IPEndPoint listen,
        string directory,
        string node,
        ICredentialSource logins
    )
    {
        var faults = new List<FileFault>();
        var read = Read(file, faults);
        foreach (var twice in read.Registries.GroupBy(r => r.Name).Where(same => same.Skip(1).Any()))
        {
            faults.Add(new FileFault(file, 0, $"there are two registries named '{twice.Key}'"));
        }

        var options = new NotificationOptions
        {
            Directory = directory,
            Listen = listen,
            Builder = read.Builder ?? $"kiln-node:{Uri.EscapeDataString(node)}",
            AllowBases = read.AllowBases,
            DenyBases = read.DenyBases,
            MaxWaiting = read.MaxWaiting,
            MaxKept = read.KeepBuilds,
            Registries = [.. read.Registries.Select(r => RegistryOf(r, file, logins, faults))],
        };
        return (options, [.. faults.OrderBy(f => f.Line).Select(f => f.ToString())]);
    }

    private static NotificationFile Read(string file, List<FileFault> faults)
    {
        try
        {
            if (new FileInfo(file).Length > MaxBytes)
            {
                faults.Add(new FileFault(file, 0, $"has more than {MaxBytes} bytes"));
                return new NotificationFile();
            }

            var yaml = new YamlReader(file, faults);
            return yaml.Load(File.ReadAllText(file)) is { } root
                ? NotificationSections.File.Read(root, yaml, new NotificationFile())
                : new NotificationFile();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            faults.Add(new FileFault(file, 0, $"cannot be read: {e.Message}"));
            return new NotificationFile();
        }
    }

    private static WatchedRegistry RegistryOf(
        NotificationFileRegistry registry,
        string file,
        ICredentialSource logins,
        List<FileFault> faults
    )
    {
        var own = logins;
        if (registry is { User: { } user, PasswordFile: { } password })
        {
            try
            {
                own = new OneLogin(new Login(user, File.ReadLines(password).FirstOrDefault("").Trim()));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                faults.Add(new FileFault(file, 0, $"the password of {registry.Name} cannot be read: {e.Message}"));
            }
        }

        return new WatchedRegistry
        {
            Name = registry.Name,
            Host = registry.Host,
            Aliases = registry.Aliases,
            Repositories = registry.Repositories,
            SecretFile = registry.SecretFile,
            Credentials = own,
            OptIn = registry.OptIn,
            BuildsPerHour = registry.BuildsPerHour,
            PrivateBases = registry.PrivateBases,
            AttachFailures = registry.AttachFailures,
        };
    }

    // Only ever asked for the one registry that it is for.
    private sealed class OneLogin(Login login) : ICredentialSource
    {
        public Login? Find(string host, RepositoryName? repository) => login;
    }
}
