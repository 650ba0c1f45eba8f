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
    public bool HasRange => Uids is { Count: >= 65536 } && Gids is { Count: >= 65536 };

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
            tools ? IdRange.Read("/etc/subuid", user, uid) : null,
            tools ? IdRange.Read("/etc/subgid", user, uid) : null
        );
        return found with { SingleId = singleId || !found.HasRange };
    }

    /// <summary>Whose process this is.</summary>
    public static (string Name, long Uid) Account()
    {
        var uid = StatusId("Uid:");
        return (UserName(uid), uid);
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
            Text(Math.Min(range.Count, 65536)),
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

    private static string UserName(long uid)
    {
        foreach (var line in File.ReadLines("/etc/passwd"))
        {
            var fields = line.Split(':');
            if (fields.Length > 2 && fields[2] == Text(uid))
            {
                return fields[0];
            }
        }

        return Text(uid);
    }
}

/// <summary>A range of subordinate ids.</summary>
internal sealed record IdRange(long First, long Count)
{
    /// <summary>The first range of a user in subuid(5) or subgid(5), by name or number; null where there is none.</summary>
    public static IdRange? Read(string file, string user, long uid)
    {
        if (!File.Exists(file))
        {
            return null;
        }

        foreach (var line in File.ReadLines(file))
        {
            var fields = line.Trim().Split(':');
            if (
                fields.Length == 3
                && (fields[0] == user || fields[0] == uid.ToString(CultureInfo.InvariantCulture))
                && long.TryParse(fields[1], CultureInfo.InvariantCulture, out var first)
                && long.TryParse(fields[2], CultureInfo.InvariantCulture, out var count)
            )
            {
                return new IdRange(first, count);
            }
        }

        return null;
    }
}

/// <summary>The machine did not allow what a build needs. The message says what and why.</summary>
public sealed class SandboxException(string message) : Exception(message);
