using System.Globalization;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Builds.Progress;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>Reading logs: as text, in ranges, as they grow, and as events; bld-6 of the build extension.</summary>
internal sealed class LogEndpoints(JobReader jobs, JobLog log, LogEvents events, Wakeups wakeups, TimeProvider time)
{
    private const int ChunkBytes = 256 << 10;
    private const string TextType = "text/plain; charset=utf-8";

    public void Map(V2Router router) => router.Map("GET", "{name}/_build/v1/jobs/{}/logs", Need.Pull, Get);

    private async Task Get(V2Context context)
    {
        JobEndpoints.Require(jobs, context, context[0]);
        var (job, task) = (context[0], context.Query("task"));
        if (log.Look(job, task) is null)
        {
            throw new OciException(
                BuildErrors.Unknown,
                $"build {job} has no task '{V2Context.Shorten(task ?? "")}'; they are t1, t2, …"
            );
        }

        context.Response.Headers["X-Accel-Buffering"] = "no";
        if (context.Request.Headers.Accept.ToString().Contains("text/event-stream", StringComparison.OrdinalIgnoreCase))
        {
            await events.WriteAsync(context, job, task);
        }
        else if (context.Query("follow") is "1" or "true" or "")
        {
            await FollowAsync(context, job, task);
        }
        else
        {
            await ReadAsync(context, job, task);
        }
    }

    private async Task ReadAsync(V2Context context, string job, string? task)
    {
        var range = LogRange.Parse(context.Request.Headers.Range);
        var state = range is null ? log.Look(job, task)! : await WaitAsync(context, job, task, range);
        var response = context.Response;
        response.ContentType = TextType;
        response.Headers.AcceptRanges = "bytes";
        var (start, end) = (0L, state.Size);
        if (range is not null)
        {
            (start, end) = range.Of(state.Size);
            if (start >= end)
            {
                response.Headers.ContentRange = $"bytes */{state.Size}";
                throw new OciException(
                    BuildErrors.LogRangeInvalid,
                    $"the log has {state.Size} bytes{(state.Complete ? "" : " so far")}"
                );
            }

            var total = state.Complete ? state.Size.ToString(CultureInfo.InvariantCulture) : "*";
            response.Headers.ContentRange = $"bytes {start}-{end - 1}/{total}";
            response.StatusCode = StatusCodes.Status206PartialContent;
        }

        response.ContentLength = end - start;
        if (!context.IsHead)
        {
            await CopyAsync(context, job, task, start, end);
        }
    }

    // "nothing new -> 416; Prefer: wait makes it a long poll"
    private async Task<JobLogState> WaitAsync(V2Context context, string job, string? task, LogRange range)
    {
        var until = new Deadline(time, context.PreferredWait() ?? TimeSpan.Zero);
        while (true)
        {
            var next = wakeups.Next(Wakeups.Job(job));
            var state = log.Look(job, task)!;
            var (start, end) = range.Of(state.Size);
            var left = until.Left;
            if (start < end || state.Complete || left <= TimeSpan.Zero || wakeups.IsStopping)
            {
                return state;
            }

            await wakeups.WaitAsync(next, left, context.Cancel);
        }
    }

    private async Task FollowAsync(V2Context context, string job, string? task)
    {
        var range = LogRange.Parse(context.Request.Headers.Range);
        var offset = range?.Of(log.Look(job, task)!.Size).Start ?? 0;
        context.Response.ContentType = TextType;
        if (context.IsHead)
        {
            return;
        }

        // A build may be silent for long: that it is followed has to be known before.
        await context.Response.Body.FlushAsync(context.Cancel);
        while (true)
        {
            var next = wakeups.Next(Wakeups.Job(job));
            var state = log.Look(job, task)!;
            if (offset < state.Size)
            {
                await CopyAsync(context, job, task, offset, state.Size);
                await context.Response.Body.FlushAsync(context.Cancel);
                offset = state.Size;
            }

            if (state.Complete)
            {
                return;
            }

            if (wakeups.IsStopping)
            {
                // Not the end of the log: a broken transfer says so, and is resumed with a range.
                context.Http.Abort();
                return;
            }

            await next.WaitAsync(context.Cancel);
        }
    }

    private async Task CopyAsync(V2Context context, string job, string? task, long start, long end)
    {
        var buffer = new byte[(int)Math.Min(ChunkBytes, end - start)];
        while (start < end)
        {
            var want = (int)Math.Min(buffer.Length, end - start);
            var read = log.Read(job, task, start, buffer.AsMemory(0, want));
            if (read == 0)
            {
                return;
            }

            await context.Response.Body.WriteAsync(buffer.AsMemory(0, read), context.Cancel);
            start += read;
        }
    }
}

/// <summary>One range of a log that may still grow (RFC 9110, 14.1.2).</summary>
/// <param name="First">First byte; null for the last <paramref name="Last"/> bytes.</param>
/// <param name="Last">Last byte; null for all that there is.</param>
internal sealed record LogRange(long? First, long? Last)
{
    /// <summary>Null where there is no range, or none that can be understood: the whole log then is the answer.</summary>
    public static LogRange? Parse(string? header)
    {
        const string unit = "bytes=";
        if (header is null || !header.StartsWith(unit, StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        var text = header[unit.Length..].Trim();
        var dash = text.IndexOf('-', StringComparison.Ordinal);
        if (dash < 0 || text.Contains(',', StringComparison.Ordinal))
        {
            return null;
        }

        var (first, last) = (Number(text[..dash]), Number(text[(dash + 1)..]));
        var understood =
            (first is not null || dash == 0) && (last is not null || dash == text.Length - 1) && !(first > last);
        return understood && text.Length > 1 ? new LogRange(first, last) : null;
    }

    /// <summary>The bytes that it means in a log of <paramref name="size"/> bytes; empty where there are none.</summary>
    public (long Start, long End) Of(long size) =>
        First is { } first
            ? (first, Last is { } last ? Math.Min(last + 1, size) : size)
            : (Math.Max(0, size - Last!.Value), size);

    private static long? Number(string text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number < long.MaxValue
            ? number
            : null;
}
