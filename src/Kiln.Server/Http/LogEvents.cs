using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Server.Builds.Progress;

namespace Kiln.Server.Http;

/// <summary>
/// A build as server-sent events: <c>log</c> with text, <c>state</c> with where it is, <c>end</c>. The id of a
/// <c>log</c> event is the byte offset after it, so that <c>Last-Event-ID</c> resumes exactly (build-extension, "Reading
/// logs").
/// </summary>
internal sealed class LogEvents(JobReader jobs, JobLog log, Wakeups wakeups, TimeProvider time)
{
    private const int ChunkBytes = 64 << 10;
    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(15);

    public async Task WriteAsync(V2Context context, string job, string? task)
    {
        var response = context.Response;
        response.ContentType = "text/event-stream";
        response.Headers.CacheControl = "no-store";
        if (context.IsHead)
        {
            return;
        }

        var offset = Resume(context, log.Look(job, task)!.Size);
        var revision = -1;
        var due = new Deadline(time, Heartbeat);
        while (true)
        {
            var next = wakeups.Next(Wakeups.Job(job));
            var state = log.Look(job, task)!;
            var view = JobEndpoints.Require(jobs, context, job);
            if (view.Revision != revision)
            {
                revision = view.Revision;
                await SendAsync(context, "state", id: null, LogEventData.State(view, task));
            }

            offset = await SendLogAsync(context, job, task, offset, state);
            if (state.Complete)
            {
                await SendAsync(context, "end", offset, LogEventData.State(view, task));
                return;
            }

            await response.Body.FlushAsync(context.Cancel);
            if (wakeups.IsStopping)
            {
                // Without "end": the client comes again with Last-Event-ID.
                return;
            }

            await wakeups.WaitAsync(next, due.Left, context.Cancel);
            if (due.Left <= TimeSpan.Zero)
            {
                await response.Body.WriteAsync(": heartbeat\n\n"u8.ToArray(), context.Cancel);
                due = new Deadline(time, Heartbeat);
            }
        }
    }

    // "on reconnect with an unknown id start at 0"
    private static long Resume(V2Context context, long size) =>
        long.TryParse(
            context.Request.Headers["Last-Event-ID"],
            NumberStyles.None,
            CultureInfo.InvariantCulture,
            out var id
        )
        && id <= size
            ? id
            : 0;

    private async Task<long> SendLogAsync(V2Context context, string job, string? task, long offset, JobLogState state)
    {
        var buffer = new byte[ChunkBytes];
        while (offset < state.Size)
        {
            var want = (int)Math.Min(buffer.Length, state.Size - offset);
            var read = log.Read(job, task, offset, buffer.AsMemory(0, want));
            // A character whose end has not come yet waits for it, unless nothing more comes.
            var last = state.Complete && offset + read >= state.Size;
            var length = last ? read : Utf8.CompleteLength(buffer.AsSpan(0, read));
            if (length == 0)
            {
                return offset;
            }

            offset += length;
            await SendAsync(context, "log", offset, LogEventData.Text(Encoding.UTF8.GetString(buffer, 0, length)));
        }

        return offset;
    }

    private static async Task SendAsync(V2Context context, string name, long? id, ReadOnlyMemory<byte> data)
    {
        var head = id is null ? $"event: {name}\ndata: " : $"id: {id}\nevent: {name}\ndata: ";
        var message = new ArrayBufferWriter<byte>(head.Length + data.Length + 2);
        message.Write(Encoding.UTF8.GetBytes(head));
        message.Write(data.Span);
        message.Write("\n\n"u8);
        await context.Response.Body.WriteAsync(message.WrittenMemory, context.Cancel);
    }
}

/// <summary>The data of events: JSON on one line.</summary>
internal static class LogEventData
{
    public static ReadOnlyMemory<byte> Text(string text) =>
        Write(json =>
        {
            json.WriteString("text", text);
        });

    /// <summary>A job's state, with what one of its tasks is doing: the asked one, or the first that is not done.</summary>
    public static ReadOnlyMemory<byte> State(Job job, string? task) =>
        Write(json =>
        {
            var current =
                job.Tasks.FirstOrDefault(t => task is null ? !BuildStates.IsDone(t.State) : t.Id == task)
                ?? job.Tasks[^1];
            json.WriteString("state", job.State);
            json.WriteBoolean("done", job.Done);
            json.WriteNumber("revision", job.Revision);
            json.WriteString("task", current.Id);
            WriteText(json, "reason", job.Reason);
            WriteText(json, "message", job.Message);
            WriteText(json, "phase", current.Phase);
            WriteText(json, "progress", current.Progress);
            if (current.QueuePosition is { } position)
            {
                json.WriteNumber("queuePosition", position);
            }

            if (current.Steps is { } steps)
            {
                json.WritePropertyName("steps");
                JsonSerializer.Serialize(json, steps, BuildJson.Default.IReadOnlyListBuildStep);
            }
        });

    private static void WriteText(Utf8JsonWriter json, string name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    private static ReadOnlyMemory<byte> Write(Action<Utf8JsonWriter> members)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }
}
