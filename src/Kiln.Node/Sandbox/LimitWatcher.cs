namespace Kiln.Node.Sandbox;

/// <summary>What one build may use. Bytes.</summary>
internal sealed record BuildLimits(long MemoryBytes, long DiskBytes, int Processes, long FreeDiskFloorBytes);

/// <summary>
/// Keeps limits where no cgroup can: looks at the build a few times a second and says when it is over. Fork bombs are
/// held by RLIMIT_NPROC until it looks.
/// </summary>
internal sealed class LimitWatcher(BuildLimits limits, string directory, int pid, TimeProvider time)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);
    private readonly long _freeAtStart = Free(directory);
    private long _measuredAtFree = long.MaxValue;

    /// <summary>Ends with a sentence that says which limit was passed, or with null on <paramref name="cancel"/>.</summary>
    public async Task<string?> WatchAsync(CancellationToken cancel)
    {
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancel))
            {
                if (Exceeded() is { } sentence)
                {
                    return sentence;
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The build is over.
        }

        return null;
    }

    private string? Exceeded()
    {
        var (processes, memory) = ProcessTree.Measure(pid);
        if (processes > limits.Processes)
        {
            return $"the build had more than {limits.Processes} processes";
        }

        if (memory > limits.MemoryBytes)
        {
            return $"the build held more than {Size(limits.MemoryBytes)} of memory";
        }

        var free = Free(directory);
        if (free < limits.FreeDiskFloorBytes)
        {
            return $"the build node's disk has less than {Size(limits.FreeDiskFloorBytes)} left";
        }

        return DiskExceeded(free) ? $"the build wrote more than {Size(limits.DiskBytes)}" : null;
    }

    // Walking the build's directory is dear, so it is measured only once the file system has lost as much as it may use,
    // and again after each further sixteenth.
    private bool DiskExceeded(long free)
    {
        if (_freeAtStart - free < limits.DiskBytes || _measuredAtFree - free < limits.DiskBytes / 16)
        {
            return false;
        }

        _measuredAtFree = free;
        return DiskUsage.Bytes(directory) > limits.DiskBytes;
    }

    private static long Free(string directory) => new DriveInfo(directory).AvailableFreeSpace;

    private static string Size(long bytes) =>
        bytes >= 1L << 30 ? $"{bytes / (double)(1L << 30):0.#} GiB" : $"{bytes >> 20} MiB";
}

/// <summary>What a directory tree takes on disk.</summary>
internal static class DiskUsage
{
    private static readonly EnumerationOptions All = new()
    {
        RecurseSubdirectories = true,
        IgnoreInaccessible = true,
        AttributesToSkip = FileAttributes.ReparsePoint,
        ReturnSpecialDirectories = false,
    };

    /// <summary>Bytes of the files that this user can see under <paramref name="directory"/>.</summary>
    public static long Bytes(string directory)
    {
        var total = 0L;
        foreach (var file in new DirectoryInfo(directory).EnumerateFiles("*", All))
        {
            total += file.Length;
        }

        return total;
    }
}
