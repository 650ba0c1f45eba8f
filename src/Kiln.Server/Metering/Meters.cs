using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Kiln.Server.Metering;

/// <summary>
/// What is counted and timed while the server works, and where its traces begin. One server runs in a process, so these are
/// the process's. Tags have few values: never a repository, a user or an address.
/// </summary>
internal static class Meters
{
    /// <summary>The name of the meter and of the trace source.</summary>
    public const string Name = "Kiln";

    private static readonly double[] Seconds =
    [
        0.001,
        0.0025,
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1,
        2.5,
        5,
        10,
        30,
        60,
        300,
    ];

    private static readonly double[] LongSeconds = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400];

    private static readonly Meter Own = new(Name);

    public static ActivitySource Traces { get; } = new(Name);

    /// <summary>By route, method and status; the time from the request's head to the end of the answer.</summary>
    public static Histogram<double> Requests { get; } =
        Timed("kiln.http.request.duration", "Requests by route, method and status.", Seconds);

    public static UpDownCounter<long> ActiveRequests { get; } =
        Own.CreateUpDownCounter<long>("kiln.http.active_requests", "{request}", "Requests under way.");

    /// <summary>By route.</summary>
    public static Counter<long> SentBytes { get; } =
        Own.CreateCounter<long>("kiln.http.sent", "By", "Bytes of answers whose length was known before, by route.");

    public static Counter<long> UploadedBytes { get; } =
        Own.CreateCounter<long>("kiln.uploads.received", "By", "Bytes of blobs that came in.");

    public static Histogram<double> DatabaseWrites { get; } =
        Timed("kiln.database.write.duration", "Transactions, with the time that they waited for others.", Seconds);

    /// <summary>By outcome.</summary>
    public static Histogram<double> Builds { get; } =
        Timed("kiln.build.duration", "Builds that ended, from the first claim on, by outcome.", LongSeconds);

    public static Histogram<double> QueueWaits { get; } =
        Timed("kiln.build.queue.duration", "How long builds waited for a node.", LongSeconds);

    public static Counter<long> LogBytes { get; } =
        Own.CreateCounter<long>("kiln.build.log", "By", "Bytes of build logs.");

    /// <summary>By answer: <c>new</c>, <c>joined</c>, <c>reused</c>.</summary>
    public static Counter<long> Tasks { get; } =
        Own.CreateCounter<long>("kiln.build.tasks", "{task}", "Targets of jobs by what answered them.");

    /// <summary>By reason.</summary>
    public static Counter<long> RateLimited { get; } =
        Own.CreateCounter<long>("kiln.ratelimit.refusals", "{request}", "Requests refused by a rate limit.");

    /// <summary>A counter of another folder's own. Keep tags few.</summary>
    public static Counter<long> Counter(string name, string? unit, string description) =>
        Own.CreateCounter<long>(name, unit, description);

    /// <summary>A time in seconds.</summary>
    public static Histogram<double> Timed(string name, string description, double[] boundaries) =>
        Own.CreateHistogram(
            name,
            "s",
            description,
            tags: null,
            new InstrumentAdvice<double> { HistogramBucketBoundaries = boundaries }
        );

    public static double SecondsSince(long timestamp) => Stopwatch.GetElapsedTime(timestamp).TotalSeconds;
}

/// <summary>
/// Whose numbers those are that are asked for when somebody looks: of one server, of which tests run several in a process.
/// They end with it.
/// </summary>
internal sealed class MeterScope
{
    /// <summary>A meter of this server.</summary>
    public Meter Create() => new(new MeterOptions(Meters.Name) { Scope = this });
}

/// <summary>The route that a request was for, as a template that names nothing in particular.</summary>
internal sealed record MatchedRoute(string Template);
