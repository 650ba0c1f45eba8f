using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Requests and jobs, broken once each.</summary>
internal static class RequestMutations
{
    private const string Jobs = "/_build/v1/jobs$";
    private const string Job = "/_build/v1/jobs/[^/]+$";
    private const string Log = "/_build/v1/jobs/[^/]+/logs$";
    private const string Manifest = "/manifests/";
    private const string Result = "/result$";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        // Requests.
        new("a request gets 201", "request.accepted", "POST", Jobs, e => Status(e, e.Status == 202 && !IsJson(e), 201)),
        new(
            "a request's answer says not when to come again",
            "request.accepted",
            "POST",
            Jobs,
            e => Without(e, "Retry-After")
        ),
        new(
            "a job's address leads nowhere",
            "request.accepted",
            "POST",
            Jobs,
            e => Header(e, "Location", e.Path + "/none")
        ),
        new(
            "a request may not be application/json",
            "request.json",
            "POST",
            Jobs,
            e => AnswerIf(e, IsJson(e), 415, Error("UNSUPPORTED"))
        ),
        new("Accept is not heard", "request.accept", "GET", Job, e => e.RequestHeaders.Remove("Accept"))
        {
            OnRequest = true,
        },
        new(
            "a job that is not there is another error",
            "request.errors",
            "GET",
            Job,
            e => AnswerIf(e, e.Status == 404, 404, Error("NOT_FOUND"))
        ),
        new(
            "what is no JSON gets 500",
            "request.errors",
            "POST",
            Jobs,
            e => AnswerIf(e, e.RequestText == "{", 500, Error("BUILD_REQUEST_INVALID"))
        ),
        new(
            "errors are text",
            "request.errors request.must-understand request.raw-parameter request.repeatable-conflict request.create-only",
            "",
            "/_build/",
            e => AnswerIf(e, e.Status is >= 400 and < 500, e.Status, "wrong")
        ),
        new("HEAD is not there", "request.head", "HEAD", Job, e => Status(e, true, 405)),
        new("HEAD of a log is not there", "request.head", "HEAD", Log, e => Status(e, true, 405)),
        new(
            "ids are in capitals",
            "request.ids",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202, json => json["tasks"]![0]!["execution"] = "EXECUTION")
        ),
        new(
            "a member without a value is null",
            "request.no-nulls",
            "GET",
            Job,
            e => e.Edit(json => json["reason"] = null)
        ),
        new(
            "nobody is made to wait",
            "request.wait request.wait-cut",
            "GET",
            Job,
            e => e.RequestHeaders.Remove("Prefer")
        )
        {
            OnRequest = true,
        },
        new(
            "an answer is not held",
            "request.wait",
            "GET",
            Job,
            e => Is(e, "wait=1", () => e.RequestHeaders["Prefer"] = "wait=0")
        )
        {
            OnRequest = true,
            Then = e => Header(e, "Preference-Applied", "wait=1", e.RequestHeaders.ContainsKey("Prefer")),
        },
        new(
            "a wait is not cut",
            "request.wait-cut",
            "GET",
            Job,
            e => Header(e, "Preference-Applied", "wait=1000000", Prefers(e, "1000000"))
        ),
        new(
            "unknown members are refused",
            "request.unknown-member",
            "POST",
            Jobs,
            e =>
                AnswerIf(
                    e,
                    Asks(e, "org.example.unknown") && !Asks(e, "mustUnderstand"),
                    400,
                    Error("BUILD_REQUEST_INVALID")
                )
        ),
        new(
            "what has to be understood is not",
            "request.must-understand",
            "POST",
            Jobs,
            e => e.EditRequest(json => json.AsObject().Remove("mustUnderstand"))
        )
        {
            OnRequest = true,
        },
        new(
            "equal targets count twice",
            "request.equal-targets",
            "POST",
            Jobs,
            e => EditIf(e, Asks(e, "v1"), json => json["tasks"]!.AsArray().Add(json["tasks"]![0]!.DeepClone()))
        ),
        new(
            "a job names no artifact as its recipe",
            "request.inline-recipe",
            "GET",
            Manifest,
            e =>
                e.Edit(json =>
                {
                    json.AsObject().Remove("artifactType");
                    json["config"]!["mediaType"] = "application/json";
                })
        ),
        new(
            "a recipe is kept with another byte",
            "request.inline-recipe",
            "GET",
            "/blobs/sha256",
            e => Shorten(e, true)
        ),
        new(
            "an option of a raw request is lost",
            "request.raw",
            "POST",
            Jobs,
            e => e.Query = e.Query.Replace("arg.A", "arg.B", StringComparison.Ordinal)
        )
        {
            OnRequest = true,
        },
        new(
            "a tag of a raw request is lost",
            "request.raw",
            "POST",
            Jobs,
            e => EditIf(e, Has(e, "tag="), json => json["tags"] = new JsonArray())
        ),
        new(
            "unknown parameters are ignored",
            "request.raw-parameter",
            "POST",
            Jobs,
            e => e.Query = e.Query.Replace("&colour=red", "", StringComparison.Ordinal)
        )
        {
            OnRequest = true,
        },
        new(
            "a label does not come to the node",
            "request.options",
            "POST",
            Jobs,
            e => e.EditRequest(json => json.AsObject().Remove("labels"))
        )
        {
            OnRequest = true,
        },
        new(
            "a key repeats nothing",
            "request.repeatable request.repeatable-conflict",
            "POST",
            Jobs,
            e => e.RequestHeaders.Remove("Idempotency-Key")
        )
        {
            OnRequest = true,
        },
        new(
            "a key repeats anything",
            "request.repeatable-conflict",
            "POST",
            Jobs,
            e => AnswerIf(e, e.Status == 422, 202, "{}")
        ),
        new(
            "if-unchanged is not heard",
            "request.if-unchanged",
            "POST",
            Jobs,
            e => EditRequestIf(e, Asks(e, "if-unchanged"), json => json.AsObject().Remove("tagPolicy"))
        )
        {
            OnRequest = true,
        },
        new(
            "create-only is not heard",
            "request.create-only",
            "POST",
            Jobs,
            e => EditRequestIf(e, Asks(e, "create-only"), json => json.AsObject().Remove("tagPolicy"))
        )
        {
            OnRequest = true,
        },
        // Refusals.
        new(
            "a recipe that cannot be parsed is taken",
            "request.refuse-recipe",
            "POST",
            Jobs,
            e => Take(e, "RlJNIHNjcmF0Y2g")
        ),
        new(
            "a recipe that cannot be parsed is a bad request",
            "request.refuse-recipe",
            "POST",
            Jobs,
            e => AnswerIf(e, Asks(e, "RlJNIHNjcmF0Y2g"), 400, Error("BUILD_REQUEST_INVALID"))
        ),
        new("a stage that is not there is taken", "request.refuse-stage", "POST", Jobs, e => Take(e, "nowhere")),
        new("a platform that nobody builds is taken", "request.refuse-platform", "POST", Jobs, e => Take(e, "plan9")),
        new(
            "nobody says which platforms there are",
            "request.refuse-platform",
            "POST",
            Jobs,
            e => EditIf(e, Asks(e, "plan9"), json => json["errors"]![0]!.AsObject().Remove("detail"))
        ),
        new("a format that nobody makes is taken", "request.refuse-output", "POST", Jobs, e => Take(e, "\"none\"")),
        new("any tag is taken", "request.refuse-tag", "POST", Jobs, e => Take(e, "no tag")),
        new("any secret is taken", "request.refuse-secret", "POST", Jobs, e => Take(e, "secrets")),
        new(
            "a recipe that is not there is taken",
            "request.refuse-unknown-recipe",
            "POST",
            Jobs,
            e => Take(e, "\"digest\":\"sha256:", "contexts")
        ),
        new(
            "a kind of recipe that nobody builds is taken",
            "request.refuse-recipe-type",
            "POST",
            Jobs,
            e => Take(e, "singularity")
        ),
        new("a context that is not there is taken", "request.refuse-context", "POST", Jobs, e => Take(e, "contexts")),
        new(
            "a refused request leaves its recipe",
            "request.refused-nothing-left",
            "HEAD",
            "/blobs/",
            e => Status(e, true, 200)
        ),
        // Jobs.
        new(
            "a job has no creator",
            "request.job-members",
            "GET",
            Job,
            e => e.Edit(json => json.AsObject().Remove("createdBy"))
        ),
        new(
            "a task has no key",
            "request.job-members",
            "GET",
            Job,
            e => e.Edit(json => json["tasks"]![0]!.AsObject().Remove("key"))
        ),
        new(
            "a job has no links",
            "request.job-members",
            "GET",
            Job,
            e => e.Edit(json => json.AsObject().Remove("links"))
        ),
        new("a job has no ETag", "request.job-conditional", "GET", Job, e => Without(e, "ETag")),
        new(
            "a job's ETag is not its revision",
            "request.job-conditional",
            "GET",
            Job,
            e => Header(e, "ETag", "W/\"x\"")
        ),
        new(
            "a job that has not changed is sent again",
            "request.job-conditional",
            "GET",
            Job,
            e => Status(e, e.Status == 304, 200)
        ),
        new(
            "who names a revision does not wait",
            "request.job-wait-revision",
            "GET",
            Job,
            e => Is(e, "wait=20", () => Drop(e, "Prefer", e.RequestHeaders.ContainsKey("If-None-Match")))
        )
        {
            OnRequest = true,
        },
        new(
            "who waits is not held",
            "request.job-wait-end",
            "GET",
            Job,
            e => Is(e, "wait=20", () => Drop(e, "Prefer", !e.RequestHeaders.ContainsKey("If-None-Match")))
        )
        {
            OnRequest = true,
        },
        new(
            "a job that waits is said to run",
            "request.job-states",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202, json => json["state"] = "running")
        ),
        new(
            "a job that runs is done",
            "request.job-states",
            "GET",
            Job,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("\"state\":\"running\"", StringComparison.Ordinal)
                        && !e.RequestHeaders.ContainsKey("Prefer"),
                    json => json["done"] = true
                )
        ),
        new("revisions do not grow", "request.job-states", "GET", Job, e => e.Edit(json => json["revision"] = 3)),
        new(
            "what is done is canceled",
            "request.job-final",
            "GET",
            Job,
            Once("succeeded", 2, json => json["state"] = "canceled")
        ),
        new(
            "a result does not say of which tags",
            "request.job-result",
            "GET",
            Job,
            e => e.Edit(json => json["result"]?.AsObject().Remove("tags"))
        ),
        new(
            "a failed job says not why",
            "request.job-failed",
            "GET",
            Job,
            e => e.Edit(json => json.AsObject().Remove("reason"))
        ),
        new(
            "a failed job has no message",
            "request.job-failed",
            "GET",
            Job,
            e => e.Edit(json => json.AsObject().Remove("message"))
        ),
        new(
            "a failed job moves a tag",
            "request.job-failed-tags",
            "GET",
            Manifest,
            e => Status(e, e.Status == 404, 200)
        ),
        new(
            "a job goes on when a task has failed",
            "request.job-first-failure",
            "GET",
            Job,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("/other", StringComparison.Ordinal) && !e.RequestHeaders.ContainsKey("Prefer"),
                    json =>
                    {
                        json["state"] = "running";
                        json["done"] = false;
                    }
                )
        ),
        new(
            "partial is not heard",
            "request.job-partial",
            "POST",
            Jobs,
            e => e.EditRequest(json => json.AsObject().Remove("partial"))
        )
        {
            OnRequest = true,
        },
        new(
            "the index of a part has too much",
            "request.job-partial",
            "GET",
            Manifest,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("image.index", StringComparison.Ordinal),
                    json => json["manifests"]!.AsArray().Add(json["manifests"]![0]!.DeepClone())
                )
        ),
        new(
            "a tag is late",
            "request.job-tags",
            "GET",
            Manifest,
            e => AnswerIf(e, e.Status == 200 && !e.RequestHeaders.ContainsKey("Accept"), 404, Error("MANIFEST_UNKNOWN"))
        ),
        new(
            "jobs are listed oldest first",
            "request.list request.list-page",
            "GET",
            Jobs,
            e => e.Edit(json => Reverse(json["jobs"]!.AsArray()))
        ),
        new("a list is another type", "request.list", "GET", Jobs, e => Header(e, "Content-Type", "application/json")),
        new(
            "a filter does not filter",
            "request.list-filter",
            "GET",
            Jobs,
            e => e.Query = e.Query.Contains("tag=", StringComparison.Ordinal) ? "" : e.Query
        )
        {
            OnRequest = true,
        },
        new("a page has no next", "request.list-page", "GET", Jobs, e => Without(e, "Link")),
        new(
            "a page is too long",
            "request.list-page",
            "GET",
            Jobs,
            e => e.Query = e.Query.Replace("n=2", "n=3", StringComparison.Ordinal)
        )
        {
            OnRequest = true,
        },
        new("any n is taken", "request.list-number", "GET", Jobs, e => Status(e, Has(e, "many"), 200)),
        // Canceling.
        new("canceling gets 204", "request.cancel request.cancel-again", "DELETE", Job, e => AnswerIf(e, true, 204)),
        new(
            "a canceled job is said to have failed",
            "request.cancel request.cancel-running",
            "GET",
            Job,
            e =>
                EditIf(
                    e,
                    !e.RequestHeaders.ContainsKey("X"),
                    json =>
                    {
                        if (
                            (string?)json["state"] == "canceled"
                            && json["tasks"]![0]!["shared"] is null
                            && !e.Text.Contains("\"shared\":true", StringComparison.Ordinal)
                        )
                        {
                            json["state"] = "failed";
                        }
                    }
                )
        ),
        new("canceling twice is an error", "request.cancel-again", "DELETE", Job, Second(409, "BUILD_STATE_INVALID")),
        new(
            "a shared build is ended with one of its jobs",
            "request.cancel-shared",
            "PATCH",
            "/leases/",
            e => e.Edit(json => json["canceled"] = true)
        ),
        new(
            "what was canceled is published",
            "request.cancel-running",
            "GET",
            Manifest,
            e => Status(e, e.Status == 404, 200)
        ),
    ];

    private static bool IsJson(Exchange e) => e.RequestHeaders.GetValueOrDefault("Content-Type") == "application/json";

    private static bool Asks(Exchange e, string text) => e.RequestText.Contains(text, StringComparison.Ordinal);

    private static bool Prefers(Exchange e, string text) =>
        e.RequestHeaders.GetValueOrDefault("Prefer")?.Contains(text, StringComparison.Ordinal) is true;

    private static void Is(Exchange e, string preferred, Action then)
    {
        if (e.RequestHeaders.GetValueOrDefault("Prefer") == preferred)
        {
            then();
        }
    }

    private static void Drop(Exchange e, string header, bool when)
    {
        if (when)
        {
            e.RequestHeaders.Remove(header);
        }
    }

    private static void EditRequestIf(Exchange e, bool when, Action<JsonNode> edit)
    {
        if (when)
        {
            e.EditRequest(edit);
        }
    }

    /// <summary>What was refused is said to be a job.</summary>
    private static void Take(Exchange e, string text, string? without = null) =>
        AnswerIf(e, e.Status >= 400 && Asks(e, text) && (without is null || !Asks(e, without)), 202, "{}");

    /// <summary>Changes a job in a state when it is asked for the n-th time in it.</summary>
    private static Action<Exchange> Once(string state, int time, Action<JsonNode> edit)
    {
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        return e =>
        {
            if (e.Text.Contains($"\"state\":\"{state}\"", StringComparison.Ordinal))
            {
                seen[e.Path] = seen.GetValueOrDefault(e.Path) + 1;
                EditIf(e, seen[e.Path] == time, edit);
            }
        };
    }

    /// <summary>The second request of the same gets an error.</summary>
    private static Action<Exchange> Second(int status, string code)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        return e => AnswerIf(e, !seen.Add(e.Method + e.Path), status, Error(code));
    }
}
