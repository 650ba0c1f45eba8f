using System.Globalization;

namespace Kiln.Node.Sandbox;

/// <summary>
/// Limits by cgroup v2, where the operator delegated a subtree to this process (systemd: <c>Delegate=yes</c>): one group
/// for each run. Whatever controller was not delegated is left to rlimits and <see cref="LimitWatcher"/>.
/// </summary>
internal sealed class ControlGroups
{
    private readonly string _parent;

    private ControlGroups(string parent, IReadOnlySet<string> controllers)
    {
        _parent = parent;
        Controllers = controllers;
    }

    /// <summary>The controllers in force: of <c>memory</c> and <c>pids</c>, those that were delegated.</summary>
    public IReadOnlySet<string> Controllers { get; }

    /// <summary>The subtree that was delegated to this process, made ready for children; null where none was.</summary>
    public static ControlGroups? Delegated()
    {
        try
        {
            if (Own() is not { } own)
            {
                return null;
            }

            var wanted = File.ReadAllText(Path.Combine(own, "cgroup.controllers"))
                .Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries)
                .Intersect(["memory", "pids"], StringComparer.Ordinal)
                .ToHashSet(StringComparer.Ordinal);
            if (wanted.Count == 0)
            {
                return null;
            }

            // A group with processes of its own cannot limit children (cgroup-v2.rst, "No Internal Process Constraint").
            var leaf = Directory.CreateDirectory(Path.Combine(own, "kiln")).FullName;
            foreach (var pid in File.ReadAllLines(Path.Combine(own, "cgroup.procs")))
            {
                File.WriteAllText(Path.Combine(leaf, "cgroup.procs"), pid);
            }

            File.WriteAllText(
                Path.Combine(own, "cgroup.subtree_control"),
                string.Join(' ', wanted.Select(c => "+" + c))
            );
            return new ControlGroups(own, wanted);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>
    /// Makes a group with these limits and puts <paramref name="pid"/> and its descendants, which all wait, into it; what
    /// they start later is in it too.
    /// </summary>
    public ControlGroup Enter(int pid, BuildLimits limits)
    {
        var path = Directory.CreateDirectory(Path.Combine(_parent, "build-" + Guid.NewGuid().ToString("n"))).FullName;
        if (Controllers.Contains("memory"))
        {
            Write(path, "memory.max", limits.MemoryBytes);
            Write(path, "memory.swap.max", 0);
        }

        if (Controllers.Contains("pids"))
        {
            Write(path, "pids.max", limits.Processes);
        }

        foreach (var member in ProcessTree.Under(pid))
        {
            Write(path, "cgroup.procs", member);
        }

        return new ControlGroup(path, limits);
    }

    private static void Write(string group, string file, long value)
    {
        var path = Path.Combine(group, file);
        if (File.Exists(path))
        {
            File.WriteAllText(path, value.ToString(CultureInfo.InvariantCulture));
        }
    }

    // The mount of cgroup2, and this process's place below it ("0::/path" in /proc/self/cgroup).
    private static string? Own()
    {
        var mount = File.ReadLines("/proc/self/mounts")
            .Select(l => l.Split(' '))
            .FirstOrDefault(f => f.Length > 2 && f[2] == "cgroup2");
        var line = File.ReadLines("/proc/self/cgroup")
            .FirstOrDefault(l => l.StartsWith("0::", StringComparison.Ordinal));
        return mount is not null && line is { Length: > 4 } ? mount[1] + line["0::".Length..] : null;
    }
}

/// <summary>The group of one run; disposing it kills what is left in it and removes it.</summary>
internal sealed class ControlGroup(string path, BuildLimits limits) : IAsyncDisposable
{
    private const int Attempts = 50;

    /// <summary>A sentence where the kernel ended something of the run for a limit, else null.</summary>
    public string? Exceeded()
    {
        var events = Path.Combine(path, "memory.events");
        var killed =
            File.Exists(events)
            && File.ReadLines(events)
                .Any(l => l.StartsWith("oom_kill ", StringComparison.Ordinal) && l != "oom_kill 0");
        return killed ? $"the build held more than {LimitWatcher.Size(limits.MemoryBytes)} of memory" : null;
    }

    public async ValueTask DisposeAsync()
    {
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            try
            {
                var kill = Path.Combine(path, "cgroup.kill");
                if (File.Exists(kill))
                {
                    await File.WriteAllTextAsync(kill, "1");
                }

                Directory.Delete(path);
                return;
            }
            catch (IOException)
            {
                // Killed processes leave their group a moment later.
                await Task.Delay(20);
            }
        }
    }
}
