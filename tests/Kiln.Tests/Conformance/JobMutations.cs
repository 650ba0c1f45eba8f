using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Jobs and canceling, broken once each.</summary>
internal static class JobMutations
{
    private const string Jobs = "/_build/v1/jobs$";
    private const string Job = "/_build/v1/jobs/[^/]+$";
    private const string Manifest = "/manifests/";

    public static IReadOnlyList<Mutation> All { get; } =
    [
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
            "request.job-conditional request.job-wait-revision",
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
                    State(e, "running") && !e.Text.Contains("/other", StringComparison.Ordinal),
                    json => json["done"] = true
                )
        ),
        new(
            "revisions do not grow",
            "request.job-states",
            "GET",
            Job,
            e => EditIf(e, State(e, "succeeded"), json => json["revision"] = 1)
        ),
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
                    e.Text.Contains("/other", StringComparison.Ordinal) && State(e, "failed"),
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
            "request.job-partial request.job-tags",
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
            "request.job-partial request.job-tags",
            "GET",
            Manifest,
            e => AnswerIf(e, e.Text.Contains("image.index", StringComparison.Ordinal), 404, Error("MANIFEST_UNKNOWN"))
        ),
        new(
            "jobs are listed oldest first",
            "request.list request.list-page",
            "GET",
            Jobs,
            e => EditIf(e, e.Status == 200, json => Reverse(json["jobs"]!.AsArray()))
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
        new("canceling gets 204", "request.cancel request.cancel-again", "DELETE", Job, e => AnswerIf(e, true, 204)),
        new(
            "a canceled job is said to have failed",
            "request.cancel request.cancel-shared request.cancel-running",
            "GET DELETE",
            Job,
            e => EditIf(e, State(e, "canceled"), json => json["state"] = "failed")
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
}
