using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Node;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Logs: section 6 of the <c>_build</c> extension.</summary>
internal static class LogChecks
{
    private const int MaxFilledBytes = 4 << 20;

    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.log", "the log is text, with a header line for each attempt", "L-1", LogAsync),
        new("request.log-task", "the log of one task", "L-1", TaskAsync),
        new("request.log-range", "a part of the log", "L-2", RangeAsync),
        new("request.log-range-beyond", "a part that is not there gets 416", "L-2", BeyondAsync),
        new("request.log-wait", "or waits for it, where that is preferred", "L-2", WaitAsync),
        new("request.log-follow", "a log is followed to its end", "L-3", FollowAsync),
        new("request.log-events", "a log is followed as events", "L-4", EventsAsync),
        new("request.log-resume", "events go on where they were broken off", "L-4", ResumeAsync),
        new("request.log-full", "a log that is full says so, and the build goes on", "L-5 N-11", FullAsync),
    ];

    private static async Task LogAsync(Session session)
    {
        var (node, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "one\n");
        var first = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Must(200);
        first.MustBe("text/plain");
        await WriteAsync(lease, 4, "twö\n");
        await lease.SucceedAsync();
        var second = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Must(200);
        if (
            !first.Text.StartsWith("# attempt 1 on ", StringComparison.Ordinal)
            || !first.Text.Split('\n')[0].EndsWith(", " + node.Platform, StringComparison.Ordinal)
        )
        {
            throw first.Failure(
                $"begins with '{first.Text.Split('\n')[0]}', not with '# attempt 1 on NODE, {node.Platform}'"
            );
        }

        if (
            !second.Text.StartsWith(first.Text, StringComparison.Ordinal)
            || !second.Text.Contains("one\ntwö\n", StringComparison.Ordinal)
        )
        {
            throw second.Failure("does not have what came before, and then what came since");
        }
    }

    private static async Task TaskAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "one\n");
        var answer = (await session.GetAsync(Jobs.At(session, job, "/logs?task=t1"))).Must(200);
        if (!answer.Text.EndsWith("one\n", StringComparison.Ordinal))
        {
            throw answer.Failure("does not end with what the node wrote");
        }

        (await session.GetAsync(Jobs.At(session, job, "/logs?task=t9"))).MustFail(404, "BUILD_UNKNOWN");
    }

    private static async Task RangeAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "0123456789\n");
        var open = (await RangeAsync(session, job, "2-5")).Must(206);
        if (open.MustHave("Content-Range") != "bytes 2-5/*")
        {
            throw open.Failure(
                $"has Content-Range: {open.Header("Content-Range")}, not bytes 2-5/*, while more may come"
            );
        }

        await lease.FailAsync();
        var all = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log").Body;
        foreach (
            var (asked, from, to) in new[]
            {
                ("2-5", 2, 5),
                ("3-", 3, all.Length - 1),
                ("-4", all.Length - 4, all.Length - 1),
            }
        )
        {
            var answer = (await RangeAsync(session, job, asked)).Must(206).MustEqual(all.AsSpan(from, to - from + 1));
            answer.MustHave("Content-Range", $"bytes {from}-{to}/{all.Length}");
        }
    }

    private static async Task BeyondAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "one\n");
        await lease.FailAsync();
        var size = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log").Body.Length;
        (await RangeAsync(session, job, $"{size}-"))
            .MustFail(416, "BUILD_LOG_RANGE_INVALID")
            .MustHave("Content-Range", $"bytes */{size}");
    }

    private static async Task WaitAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "one\n");
        var size = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log").Body.Length;
        var waiting = session.SendAsync(
            new Call("GET", Jobs.At(session, job, "/logs")).With("Range", $"bytes={size}-").Waiting(20)
        );
        await session.LetPassAsync();
        await WriteAsync(lease, 4, "two\n");
        (await waiting).Must(206).MustEqual("two\n"u8);
    }

    private static async Task FollowAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "one\n");
        var following = session.SendAsync(
            new Call("GET", Jobs.At(session, job, "/logs?follow=1")) { Wait = TimeSpan.FromSeconds(30) }
        );
        await WriteAsync(lease, 4, "two\n");
        await lease.FailAsync();
        var followed = (await following).Must(200);
        followed.MustEqual((await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log").Body);
        var rest = await session.SendAsync(
            new Call("GET", Jobs.At(session, job, "/logs?follow=1")).With("Range", "bytes=3-")
        );
        rest.Must(200, 206).MustEqual(followed.Body.AsSpan(3));
    }

    private static async Task EventsAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "one\n");
        var following = EventsAsync(session, job, null);
        await lease.FailAsync();
        var events = await following;
        var log = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log").Text;
        var told = string.Concat(events.Where(e => e.Type == "log").Select(e => e.Data.Text("text")));
        if (told != log)
        {
            throw new CheckFailedException(
                $"the log events have {told.Length} characters, not the {log.Length} of the log"
            );
        }

        var last = events.LastOrDefault(e => e.Type == "log");
        if (last?.Id != $"{Encoding.UTF8.GetByteCount(log)}")
        {
            throw new CheckFailedException($"the id of the last log event is '{last?.Id}', not the offset after it");
        }

        if (events is not [.., { Type: "end" } end] || !end.Data.Flag("done"))
        {
            throw new CheckFailedException("the events do not close with 'end'");
        }

        end.Data.MustHave("state", "failed");
        if (!events.Any(e => e.Type == "state"))
        {
            throw new CheckFailedException("no event says the job's state");
        }
    }

    private static async Task ResumeAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await WriteAsync(lease, 0, "one\n");
        await lease.FailAsync();
        var log = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log").Text;
        var at = log.Length - 3;
        var told = string.Concat(
            (await EventsAsync(session, job, $"{at}")).Where(e => e.Type == "log").Select(e => e.Data.Text("text"))
        );
        if (told != log[at..])
        {
            throw new CheckFailedException($"after Last-Event-ID {at} came '{told}', not '{log[at..]}'");
        }
    }

    private static async Task FullAsync(Session session)
    {
        var most = (await session.InfoAsync()).Member("limits").Number("maxLogBytes");
        if (most > MaxFilledBytes)
        {
            throw new SkippedException($"a log may have {most} bytes here, which would take too long to fill");
        }

        var (_, job, lease) = await StartAsync(session);
        var line = new string('x', 1023) + "\n";
        var piece = string.Concat(Enumerable.Repeat(line, (int)Math.Max(1, most / 1024 / 4)));
        Answer? answer = null;
        var start = 0L;
        for (var i = 0; i < 8 && answer?.Status is null or 202; i++)
        {
            answer = await lease.LogAsync(start, piece);
            start += piece.Length;
        }

        answer!.Must(413);
        (await lease.BeatAsync()).Must(200);
        await lease.FailAsync();
        var log = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log");
        if (log.Body.Length > most + 4096)
        {
            throw log.Failure($"has {log.Body.Length} bytes, more than maxLogBytes, which is {most}");
        }
    }

    private static async Task<(PlayedNode Node, JsonNode Job, PlayedLease Lease)> StartAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        return (node, job, await node.ClaimAsync(job));
    }

    private static async Task WriteAsync(PlayedLease lease, long start, string text) =>
        (await lease.LogAsync(start, text)).Needed("a log");

    private static Task<Answer> RangeAsync(Session session, JsonNode job, string range) =>
        session.SendAsync(new Call("GET", Jobs.At(session, job, "/logs")).With("Range", $"bytes={range}"));

    private static async Task<IReadOnlyList<LogEvent>> EventsAsync(Session session, JsonNode job, string? last)
    {
        var call = new Call("GET", Jobs.At(session, job, "/logs")).With("Accept", "text/event-stream") with
        {
            Wait = TimeSpan.FromSeconds(30),
        };
        var answer = await session.SendAsync(last is null ? call : call.With("Last-Event-ID", last));
        answer.Must(200).MustBe("text/event-stream");
        var events = new List<LogEvent>();
        foreach (var block in answer.Text.Split("\n\n"))
        {
            var fields = block
                .Split('\n')
                .Where(line => line.Contains(':', StringComparison.Ordinal) && line[0] != ':')
                .Select(line => line.Split(':', 2))
                .ToLookup(parts => parts[0], parts => parts[1].TrimStart(' '), StringComparer.Ordinal);
            if (fields["data"].Any())
            {
                events.Add(
                    new LogEvent(
                        fields["event"].FirstOrDefault() ?? "",
                        fields["id"].FirstOrDefault(),
                        JsonNode.Parse(string.Join('\n', fields["data"]))!
                    )
                );
            }
        }

        return events;
    }

    private sealed record LogEvent(string Type, string? Id, JsonNode Data);
}
