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
            e => EditIf(e, !e.Text.Contains("\"reason\"", StringComparison.Ordinal), json => json["reason"] = null)
        ),
        new(
            "nobody is made to wait",
            "request.wait-held request.wait-cut",
            "GET",
            Job,
            e => e.RequestHeaders.Remove("Prefer")
        )
        {
            OnRequest = true,
        },
        new(
            "an answer is not held",
            "request.wait-held",
            "GET",
            Job,
            e => Is(e, "wait=1", () => e.RequestHeaders["Prefer"] = "wait=0")
        )
        {
            OnRequest = true,
            Then = e => Header(e, "Preference-Applied", "wait=1", Prefers(e, "wait=0")),
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
            e =>
                EditIf(
                    e,
                    Asks(e, "linux/amd64/v1"),
                    json => json["tasks"]!.AsArray().Add(json["tasks"]![0]!.DeepClone())
                )
        ),
        new(
            "a job names no artifact as its recipe",
            "request.inline-recipe",
            "GET",
            Manifest,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("build.recipe.v1", StringComparison.Ordinal),
                    json =>
                    {
                        json.AsObject().Remove("artifactType");
                        json["config"]!["mediaType"] = "application/json";
                    }
                )
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
    ];
}
