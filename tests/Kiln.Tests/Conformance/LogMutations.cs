using System.Text;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Logs, broken once each.</summary>
internal static class LogMutations
{
    private const string Log = "/_build/v1/jobs/[^/]+/logs$";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new(
            "a log is another type",
            "request.log",
            "GET",
            Log,
            e => Header(e, "Content-Type", "application/octet-stream", !IsStream(e))
        ),
        new(
            "no line says which attempt it is on which node",
            "request.log",
            "GET",
            Log,
            e => Replace(e, " on ", " at ")
        ),
        new("a log loses what came last", "request.log", "GET", Log, e => Replace(e, "twö\n", "")),
        new("a task has no log of its own", "request.log-task", "GET", Log, e => AnswerIf(e, Has(e, "task=t1"), 200)),
        new("any task has a log", "request.log-task", "GET", Log, e => AnswerIf(e, Has(e, "t9"), 200)),
        new(
            "ranges of logs are not heard",
            "request.log-range request.log-range-beyond request.log-wait",
            "GET",
            Log,
            e => Drop(e, "Range", !Has(e, "follow"))
        )
        {
            OnRequest = true,
        },
        new(
            "a part of a log does not say which",
            "request.log-range",
            "GET",
            Log,
            e => Without(e, "Content-Range", e.Status == 206)
        ),
        new(
            "the size of a log is said before its end",
            "request.log-range",
            "GET",
            Log,
            e =>
                Header(
                    e,
                    "Content-Range",
                    "bytes 2-5/99",
                    e.Text.Length == 4 && e.Headers.GetValueOrDefault("Content-Range")?.EndsWith('*') is true
                )
        ),
        new(
            "a part that is not there is empty",
            "request.log-range-beyond",
            "GET",
            Log,
            e => AnswerIf(e, e.Status == 416, 200)
        ),
        new(
            "nobody says how large a log is",
            "request.log-range-beyond",
            "GET",
            Log,
            e => Without(e, "Content-Range", e.Status == 416)
        ),
        new(
            "a log is not followed to its end",
            "request.log-follow",
            "GET",
            Log,
            e => ReplaceIf(e, Has(e, "follow"), "two\n", "")
        ),
        new(
            "a log is not followed from a range",
            "request.log-follow",
            "GET",
            Log,
            e => Drop(e, "Range", Has(e, "follow"))
        )
        {
            OnRequest = true,
        },
        new(
            "there are no events",
            "request.log-events request.log-resume",
            "GET",
            Log,
            e => Drop(e, "Accept", IsStream(e))
        )
        {
            OnRequest = true,
        },
        new("log events have no ids", "request.log-events", "GET", Log, e => ReplaceIf(e, IsStream(e), "id:", ":")),
        new(
            "events have no end",
            "request.log-events",
            "GET",
            Log,
            e => ReplaceIf(e, IsStream(e), "event: end", "event: stop")
        ),
        new(
            "events do not say the state",
            "request.log-events",
            "GET",
            Log,
            e => ReplaceIf(e, IsStream(e), "event: state", "event: other")
        ),
        new("events begin anew", "request.log-resume", "GET", Log, e => e.RequestHeaders.Remove("Last-Event-ID"))
        {
            OnRequest = true,
        },
        new(
            "a log that is full takes more",
            "request.log-full",
            "PATCH",
            "/log$",
            e => AnswerIf(e, e.Status == 413, 202)
        ),
        new(
            "a lease ends with a full log",
            "request.log-full",
            "PATCH",
            "/leases/[^/]+$",
            e => e.Answer(409, Error("BUILD_LEASE_LOST"))
        ),
        new("nobody waits for a part of a log", "request.log-wait", "GET", Log, e => Drop(e, "Prefer", true))
        {
            OnRequest = true,
        },
    ];

    private static bool IsStream(Exchange e) => e.RequestHeaders.GetValueOrDefault("Accept") == "text/event-stream";

    private static void ReplaceIf(Exchange e, bool when, string old, string with)
    {
        if (when)
        {
            e.Body = Encoding.UTF8.GetBytes(e.Text.Replace(old, with, StringComparison.Ordinal));
        }
    }
}
