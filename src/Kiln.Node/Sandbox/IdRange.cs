using System.Diagnostics;
using System.Globalization;

namespace Kiln.Node.Sandbox;

/// <summary>A range of subordinate ids.</summary>
internal sealed record IdRange(long First, long Count)
{
    /// <summary>As many ids as images have by custom.</summary>
    public const int Whole = 65536;

    private static readonly TimeSpan DirectoryTime = TimeSpan.FromSeconds(20);

    /// <summary>The range of user ids that this machine gives a user.</summary>
    public static IdRange? OfUsers(string user, long uid) => Find("/etc/subuid", user, uid, []);

    /// <summary>The range of group ids that this machine gives a user.</summary>
    public static IdRange? OfGroups(string user, long uid) => Find("/etc/subgid", user, uid, ["-g"]);

    /// <summary>
    /// A range of a user in subuid(5) or subgid(5), by name or number: of several the first that is whole, else the largest;
    /// null where there is none.
    /// </summary>
    public static IdRange? Read(string file, string user, long uid)
    {
        if (!File.Exists(file))
        {
            return null;
        }

        return Best(
            File.ReadLines(file)
                .Select(line => line.Trim().Split(':'))
                .Where(f => f.Length == 3 && (f[0] == user || f[0] == uid.ToString(CultureInfo.InvariantCulture)))
                .Select(f => Of(f[1], f[2]))
        );
    }

    /// <summary>The same of what getsubids(1) says: lines such as <c>0: user 100000 65536</c>.</summary>
    internal static IdRange? Told(string output) =>
        Best(
            output
                .Split('\n')
                .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
                .Where(f => f.Length == 4 && f[0].EndsWith(':'))
                .Select(f => Of(f[2], f[3]))
        );

    /// <summary>Whether ranges stand elsewhere than in files, by nsswitch.conf(5): <c>subid: sss</c>.</summary>
    internal static bool IsElsewhere(string nsswitch) =>
        File.Exists(nsswitch)
        && File.ReadLines(nsswitch)
            .Select(line => line.Split('#')[0].Split(':', 2))
            .Any(f => f.Length == 2 && f[0].Trim() == "subid" && f[1].Trim() is not ("" or "files"));

    private static IdRange? Find(string file, string user, long uid, string[] options) =>
        // Only who knows that directory can ask it, and newuidmap does not look into the files then.
        IsElsewhere("/etc/nsswitch.conf") && Programs.Find("getsubids") is not null
            ? Told(Ask([.. options, user]))
            : Read(file, user, uid);

    private static string Ask(string[] arguments)
    {
        using var process = new Process { StartInfo = Programs.Start("getsubids", arguments) };
        process.Start();
        process.StandardInput.Close();
        // A few lines, which the pipe holds: it is waited for first, since a directory that does not answer has no end.
        if (!process.WaitForExit(DirectoryTime))
        {
            process.Kill(entireProcessTree: true);
            return "";
        }

        return process.StandardOutput.ReadToEnd();
    }

    private static IdRange? Best(IEnumerable<IdRange?> ranges)
    {
        var all = ranges.OfType<IdRange>().ToList();
        return all.Find(r => r.Count >= Whole) ?? all.MaxBy(r => r.Count);
    }

    private static IdRange? Of(string first, string count) =>
        long.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out var from)
        && long.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? new IdRange(from, number)
            : null;
}
