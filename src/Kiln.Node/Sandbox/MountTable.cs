using System.Text;

namespace Kiln.Node.Sandbox;

/// <summary>
/// What is mounted where for this process, proc_pid_mountinfo(5). A mount namespace of a user without privileges locks
/// what it inherits: flags must stay, and a tree with mounts in it can only be bound as a whole.
/// </summary>
internal sealed class MountTable
{
    // The flags that mount_namespaces(7) says are locked; relatime is the default that a remount keeps.
    private static readonly HashSet<string> Locked = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"];

    private readonly List<(string Point, string[] Flags)> _mounts;

    private MountTable(IEnumerable<string> lines) =>
        _mounts = [
            .. lines
                .Select(l => l.Split(' '))
                .Where(f => f.Length > 5)
                .Select(f => (Unescape(f[4]), f[5].Split(',').Where(Locked.Contains).ToArray())),
        ];

    /// <summary>Reads this process's mounts.</summary>
    public static MountTable Read() => new(File.ReadLines("/proc/self/mountinfo"));

    internal static MountTable Parse(IEnumerable<string> lines) => new(lines);

    /// <summary>The flags of the mount that <paramref name="path"/> is in.</summary>
    public IReadOnlyList<string> FlagsOf(string path) =>
        _mounts.Where(m => IsAtOrBelow(path, m.Point)).OrderBy(m => m.Point.Length).LastOrDefault().Flags ?? [];

    /// <summary>Mount points below <paramref name="path"/>, outer ones first.</summary>
    public IEnumerable<string> Below(string path) =>
        _mounts
            .Select(m => m.Point)
            .Where(p => p != path && IsAtOrBelow(p, path))
            .Distinct(StringComparer.Ordinal)
            .OrderBy(p => p.Length);

    private static bool IsAtOrBelow(string path, string top) =>
        top == "/" || path == top || path.StartsWith(top + "/", StringComparison.Ordinal);

    // \040 and its like: octal, three digits.
    private static string Unescape(string field)
    {
        if (!field.Contains('\\', StringComparison.Ordinal))
        {
            return field;
        }

        var text = Encoding.UTF8.GetBytes(field);
        var bytes = new List<byte>();
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\\' && i + 3 < text.Length)
            {
                bytes.Add((byte)(((text[i + 1] - '0') << 6) | ((text[i + 2] - '0') << 3) | (text[i + 3] - '0')));
                i += 3;
            }
            else
            {
                bytes.Add(text[i]);
            }
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }
}
