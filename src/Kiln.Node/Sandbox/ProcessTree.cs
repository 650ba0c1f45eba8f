using System.Globalization;

namespace Kiln.Node.Sandbox;

/// <summary>The processes under one process, read from /proc: how many, and how much memory they hold.</summary>
internal static class ProcessTree
{
    private static readonly bool _knowsChildren = File.Exists("/proc/thread-self/children");

    /// <summary>Processes and resident bytes of <paramref name="root"/> and all its descendants.</summary>
    public static (int Processes, long ResidentBytes) Measure(int root)
    {
        var all = Under(root);
        return (all.Count, all.Sum(Resident));
    }

    /// <summary>
    /// The process ids of <paramref name="root"/> and all its descendants. One that starts or ends while this looks may be
    /// missed (proc(5), "children").
    /// </summary>
    public static List<int> Under(int root)
    {
        var all = _knowsChildren ? null : ByParent();
        var found = new List<int>();
        var open = new Stack<int>([root]);
        while (open.TryPop(out var pid))
        {
            found.Add(pid);
            foreach (var child in all?[pid] ?? Children(pid))
            {
                open.Push(child);
            }
        }

        return found;
    }

    /// <summary>The tasks (threads included) of one user id.</summary>
    public static int TasksOf(long uid)
    {
        var marker = $"\t{uid.ToString(CultureInfo.InvariantCulture)}\t";
        var tasks = 0;
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), CultureInfo.InvariantCulture, out _))
            {
                tasks += TasksOf(directory, marker);
            }
        }

        return tasks;
    }

    private static int TasksOf(string directory, string marker)
    {
        try
        {
            var mine = false;
            foreach (var line in File.ReadLines(Path.Combine(directory, "status")))
            {
                if (line.StartsWith("Uid:", StringComparison.Ordinal))
                {
                    mine = line.Contains(marker, StringComparison.Ordinal);
                }
                else if (mine && line.StartsWith("Threads:", StringComparison.Ordinal))
                {
                    return int.Parse(line.AsSpan("Threads:".Length).Trim(), CultureInfo.InvariantCulture);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It has ended in the meantime, or is another user's where /proc hides those (hidepid).
        }

        return 0;
    }

    // Asking from the root down costs what the build is, not what the machine runs: looking through all of /proc four
    // times a second was much of what the node itself used during a build.
    private static IEnumerable<int> Children(int pid) =>
        Threads(pid)
            .SelectMany(t => Text($"{t}/children")?.Split(' ', StringSplitOptions.RemoveEmptyEntries) ?? [])
            .Select(c => int.Parse(c, CultureInfo.InvariantCulture));

    // Kernels without CONFIG_PROC_CHILDREN, which distributions have had set since 2015.
    private static ILookup<int, int> ByParent() =>
        Directory
            .EnumerateDirectories("/proc")
            .Select(d => int.TryParse(Path.GetFileName(d), CultureInfo.InvariantCulture, out var pid) ? pid : 0)
            .Where(pid => pid > 0)
            .Select(pid => (pid, Parent: Parent(pid)))
            .Where(p => p.Parent > 0)
            .ToLookup(p => p.Parent, p => p.pid);

    // /proc/PID/stat: pid (comm) state ppid …; comm may hold spaces and parentheses.
    private static int Parent(int pid)
    {
        var stat = Text($"/proc/{pid}/stat");
        var end = stat?.LastIndexOf(')') ?? -1;
        return
            end > 0
            && int.TryParse(stat.AsSpan(end + 4).ToString().Split(' ')[0], CultureInfo.InvariantCulture, out var parent)
            ? parent
            : 0;
    }

    private static string[] Threads(int pid)
    {
        try
        {
            return Directory.GetDirectories($"/proc/{pid}/task");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static long Resident(int pid)
    {
        var fields = Text($"/proc/{pid}/statm")?.Split(' ');
        // Shared pages (the third field) are mostly the same libraries over and over.
        return fields is { Length: > 2 }
            ? (
                long.Parse(fields[1], CultureInfo.InvariantCulture)
                - long.Parse(fields[2], CultureInfo.InvariantCulture)
            ) * Environment.SystemPageSize
            : 0;
    }

    private static string? Text(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
