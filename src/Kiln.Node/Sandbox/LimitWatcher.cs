using System.Globalization;

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
                if (await ExceededAsync(cancel) is { } sentence)
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

    private async Task<string?> ExceededAsync(CancellationToken cancel)
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

        return await DiskExceededAsync(free, cancel) ? $"the build wrote more than {Size(limits.DiskBytes)}" : null;
    }

    // Walking the build's directory is dear, so it is measured only once the file system has lost as much as it may use,
    // and again after each further sixteenth.
    private async Task<bool> DiskExceededAsync(long free, CancellationToken cancel)
    {
        if (_freeAtStart - free < limits.DiskBytes || _measuredAtFree - free < limits.DiskBytes / 16)
        {
            return false;
        }

        _measuredAtFree = free;
        // As root of the build's user namespace: its files may be closed to this user.
        string[] arguments =
        [
            "--user",
            "--target",
            pid.ToString(CultureInfo.InvariantCulture),
            // It is root there as it is; where groups cannot be set, asking to be would fail.
            "--preserve-credentials",
            "du",
            "--summarize",
            "--block-size=1",
            "--one-file-system",
            directory,
        ];
        var (code, output) = await Programs.RunAsync("nsenter", arguments, cancel);
        var number = output.Split('\t', 2)[0];
        return code == 0
            && long.TryParse(number, CultureInfo.InvariantCulture, out var used)
            && used > limits.DiskBytes;
    }

    private static long Free(string directory) => new DriveInfo(directory).AvailableFreeSpace;

    internal static string Size(long bytes) =>
        bytes >= 1L << 30 ? $"{bytes / (double)(1L << 30):0.#} GiB" : $"{bytes >> 20} MiB";
}
