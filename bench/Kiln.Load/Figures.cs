using System.Globalization;

namespace Kiln.Load;

/// <summary>Writes what was measured: work, what, number, unit, with tabs between them.</summary>
internal static class Figures
{
    public static void Write(string work, string what, double value, string unit) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{work}\t{what}\t{value:0.###}\t{unit}"));

    /// <summary>The median, the 99th percentile and the largest of some times.</summary>
    public static void Times(string work, IEnumerable<double> milliseconds)
    {
        var sorted = milliseconds.Order().ToArray();
        Write(work, "answers", sorted.Length, "");
        Write(work, "median", At(sorted, 0.5), "ms");
        Write(work, "p99", At(sorted, 0.99), "ms");
        Write(work, "largest", sorted[^1], "ms");
    }

    public static double Median(IEnumerable<double> values) => At([.. values.Order()], 0.5);

    private static double At(double[] sorted, double part) =>
        sorted[Math.Clamp((int)Math.Ceiling(part * sorted.Length) - 1, 0, sorted.Length - 1)];
}

/// <summary>The memory of a process, from /proc, looked at twenty times a second.</summary>
internal sealed class MemoryWatch : IAsyncDisposable
{
    private readonly string _path;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _watching;

    public MemoryWatch(int pid)
    {
        _path = $"/proc/{pid}/status";
        First = Last = Peak = Read();
        _watching = Task.Run(WatchAsync);
    }

    /// <summary>MiB that are resident.</summary>
    public double First { get; }
    public double Last { get; private set; }
    public double Peak { get; private set; }

    private async Task WatchAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            Last = Read();
            Peak = Math.Max(Peak, Last);
            await Task.Delay(50);
        }
    }

    private double Read() =>
        double.Parse(
            File.ReadLines(_path)
                .First(l => l.StartsWith("VmRSS", StringComparison.Ordinal))
                .Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
            CultureInfo.InvariantCulture
        ) / 1024;

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _watching;
        Last = Read();
        _stop.Dispose();
    }
}
