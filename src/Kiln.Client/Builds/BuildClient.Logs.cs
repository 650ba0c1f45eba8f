using System.Globalization;
using System.Net;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json.Serialization.Metadata;
using Kiln.Client.Transport;

namespace Kiln.Client.Builds;

public sealed partial class BuildClient
{
    /// <summary>
    /// Follows a task's log and state until it ends. A cut connection is taken up again where it was: no text comes
    /// twice, none is lost.
    /// </summary>
    /// <param name="job">Which job.</param>
    /// <param name="task">Which of its tasks; null for the first.</param>
    /// <param name="offset">The byte offset in the log to begin at.</param>
    /// <param name="cancel">Ends the following, not the job.</param>
    public async IAsyncEnumerable<JobEvent> FollowAsync(
        JobAddress job,
        string? task,
        long offset,
        [EnumeratorCancellation] CancellationToken cancel
    )
    {
        for (var failures = 0; ; )
        {
            var before = offset;
            var call = LogCall(job, task) with
            {
                Headers =
                [
                    ("Accept", "text/event-stream"),
                    .. offset == 0
                        ? Array.Empty<(string, string)>()
                        : [("Last-Event-ID", offset.ToString(CultureInfo.InvariantCulture))],
                ],
            };
            var response = await _transport.SendAsync(call, cancel);
            await using var body = await _transport.OpenBodyAsync(response, cancel);
            await using var items = SseParser.Create(body).EnumerateAsync(cancel).GetAsyncEnumerator(cancel);
            while (await NextAsync(items))
            {
                var item = items.Current;
                offset = long.TryParse(item.EventId, CultureInfo.InvariantCulture, out var id) ? id : offset;
                switch (item.EventType)
                {
                    case "log":
                        yield return new LogEvent(Parse(item.Data, EventJson.Default.LogText, call).Text, offset);
                        break;
                    case "state":
                        yield return new StateEvent(Parse(item.Data, EventJson.Default.TaskProgress, call));
                        break;
                    case "end":
                        yield break;
                }
            }

            // A stream that brought something was alive; one that never does is given up in the end.
            failures = offset > before ? 1 : failures + 1;
            if (failures > _transport.Options.Attempts)
            {
                throw new RegistryException(
                    RegistryFault.Unreachable,
                    call.Action,
                    $"{job.Repository.Host} ends the log before the job ended, again and again"
                );
            }

            await Task.Delay(_transport.Options.FirstPause * failures, _transport.Options.Time, cancel);
        }
    }

    /// <summary>Writes the log as it is now to <paramref name="target"/>, from a byte offset on.</summary>
    public async Task CopyLogAsync(JobAddress job, string? task, long offset, Stream target, CancellationToken cancel)
    {
        var call = LogCall(job, task) with
        {
            Headers =
                offset == 0 ? [("Accept", "text/plain")] : [("Accept", "text/plain"), ("Range", $"bytes={offset}-")],
            Expected = [416],
        };
        var response = await _transport.SendAsync(call, cancel);
        await using var body = await _transport.OpenBodyAsync(response, cancel);
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable)
        {
            // Nothing there beyond the offset.
            return;
        }

        try
        {
            await body.CopyToAsync(target, cancel);
        }
        catch (HttpIOException e)
        {
            throw new RegistryException(RegistryFault.Unreachable, call.Action, e.Message, e);
        }
    }

    private static Call LogCall(JobAddress job, string? task) =>
        CallOf(
            job,
            HttpMethod.Get,
            task is null ? "/logs" : $"/logs?task={Uri.EscapeDataString(task)}",
            $"following job {job.Id} of {job.Repository}"
        );

    // A cut connection is the end of this stream, not of the following.
    private static async Task<bool> NextAsync(IAsyncEnumerator<SseItem<string>> items)
    {
        try
        {
            return await items.MoveNextAsync();
        }
        catch (Exception e) when (e is IOException or HttpRequestException)
        {
            return false;
        }
    }

    private static T Parse<T>(string data, JsonTypeInfo<T> type, Call call) =>
        Parse(Encoding.UTF8.GetBytes(data), type, call.Action);
}
