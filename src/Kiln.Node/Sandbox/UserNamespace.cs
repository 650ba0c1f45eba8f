using System.Globalization;
using Kiln.BuildSpec;

namespace Kiln.Node.Sandbox;

/// <summary>
/// The user ids that a build may use: the user itself as root, and as everybody else its subordinate range (subuid(5)), or
/// nobody: then <see cref="RootEmulation"/> stands in.
/// </summary>
internal sealed record UserNamespace(long Uid, long Gid, IdRange? Uids, IdRange? Gids)
{
    private const string MapOwn = "--map-root-user";

    /// <summary>Whether images can keep their files' owners: a subordinate range of usual size is there.</summary>
    public bool HasRange => Uids is { Count: >= IdRange.Whole } && Gids is { Count: >= IdRange.Whole };

    /// <summary>Whether a build has no other id than the user's own.</summary>
    public bool SingleId { get; private init; }

    /// <summary>How builds come to be root, for a job's record.</summary>
    public string Root => SingleId ? RootMethods.Seccomp : RootMethods.SubordinateIds;

    /// <summary>The same with all ids that there are, for what builds with a range have left.</summary>
    public UserNamespace Whole => this with { SingleId = !HasRange };

    /// <summary>Reads what this process may map; ranges only where newuidmap and newgidmap are installed.</summary>
    /// <param name="singleId">Builds are to have the user's own id only, whatever ranges there are.</param>
    public static UserNamespace Detect(bool singleId = false)
    {
        var (user, uid) = Account();
        var gid = StatusId("Gid:");
        var tools = Programs.Find("newuidmap") is not null && Programs.Find("newgidmap") is not null;
        var found = new UserNamespace(
            uid,
            gid,
            tools ? IdRange.OfUsers(user, uid) : null,
            tools ? IdRange.OfGroups(user, uid) : null
        );
        return found with { SingleId = singleId || !found.HasRange };
    }

    /// <summary>Whose process this is.</summary>
    public static (string Name, long Uid) Account()
    {
        var uid = StatusId("Uid:");
        return (NameOf(uid, "/etc/passwd"), uid);
    }

    /// <summary>
    /// What unshare(1) is told: a user may map its own id by itself, before the namespace's first program starts. That has to be then: under
    /// <see cref="RootEmulation"/> no later one gains the rights of root by being started.
    /// </summary>
    public IReadOnlyList<string> UnshareOptions => SingleId ? [MapOwn] : [];

    /// <summary>Writes the maps of the namespace that <paramref name="pid"/> has just made, where it has none by itself.</summary>
    /// <exception cref="SandboxException">newuidmap or newgidmap refused.</exception>
    public async Task MapAsync(int pid, CancellationToken cancel)
    {
        if (SingleId)
        {
            return;
        }

        await Task.WhenAll(
            MapAsync("newuidmap", pid, Uid, Uids!, cancel),
            MapAsync("newgidmap", pid, Gid, Gids!, cancel)
        );
    }

    private static async Task MapAsync(string program, int pid, long id, IdRange range, CancellationToken cancel)
    {
        string[] arguments =
        [
            Text(pid),
            "0",
            Text(id),
            "1",
            "1",
            Text(range.First),
            Text(Math.Min(range.Count, IdRange.Whole)),
        ];
        var (code, output) = await Programs.RunAsync(program, arguments, cancel);
        if (code != 0)
        {
            throw new SandboxException($"{program} refused to map the build's user ids: {output.Trim()}");
        }
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static long StatusId(string key)
    {
        var line = File.ReadLines("/proc/self/status").First(l => l.StartsWith(key, StringComparison.Ordinal));
        // Uid: real effective saved filesystem
        return long.Parse(
            line.Split((char[])['\t', ' '], StringSplitOptions.RemoveEmptyEntries)[2],
            CultureInfo.InvariantCulture
        );
    }

    /// <summary>An account's name: by the machine's own list, else as the C library has it from a directory (LDAP, SSSD).</summary>
    internal static string NameOf(long uid, string passwd)
    {
        foreach (var line in File.ReadLines(passwd))
        {
            var fields = line.Split(':');
            if (fields.Length > 2 && fields[2] == Text(uid))
            {
                return fields[0];
            }
        }

        // This process is the account's.
        return Environment.UserName is { Length: > 0 } name ? name : Text(uid);
    }
}

/// <summary>The machine did not allow what a build needs. The message says what and why.</summary>
public sealed class SandboxException(string message) : Exception(message);
