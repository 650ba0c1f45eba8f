using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Credentials, logs and results of leases, broken once each.</summary>
internal static class LeaseMutations
{
    private const string Claims = "/_build/v1/leases$";
    private const string Lease = "/leases/[^/]+$";
    private const string Log = "/leases/[^/]+/log$";
    private const string Result = "/result$";
    private const string Job = "/_build/v1/jobs/[^/]+$";
    private const string Manifest = "/manifests/";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new(
            "the credential does not read the recipe",
            "node.credential-read",
            "GET",
            "/blobs/",
            e => AnswerIf(e, IsLease(e), 403, Error("DENIED"))
        ),
        new(
            "the credential lists tags",
            "node.credential-only",
            "GET",
            "/tags/list$",
            e => AnswerIf(e, IsLease(e), 200, """{"name":"x","tags":[]}""")
        ),
        new(
            "the credential asks for builds",
            "node.credential-only",
            "POST",
            "/_build/v1/jobs$",
            e => AnswerIf(e, IsLease(e), 202, "{}")
        ),
        new(
            "the credential pushes referrers",
            "node.credential-subject",
            "PUT",
            Manifest,
            e => AnswerIf(e, IsLease(e) && e.Status >= 400 && Asks(e, "\"subject\""), 201)
        ),
        new(
            "the credential counts for another lease",
            "node.credential-other",
            "PATCH",
            Lease,
            e => AnswerIf(e, e.Status == 404, 200, "{}")
        ),
        new(
            "the staging tag is everybody's",
            "node.staging-tag",
            "GET",
            Manifest,
            e =>
                AnswerIf(e, !IsLease(e) && e.Status == 404 && !e.Path.Contains("sha256", StringComparison.Ordinal), 200)
        ),
        new(
            "what was pushed by the staging tag is not there",
            "node.staging-tag",
            "GET",
            Manifest,
            e => AnswerIf(e, IsLease(e) && e.Status == 200, 404, Error("MANIFEST_UNKNOWN"))
        ),
        new(
            "what is staged is everybody's",
            "node.staging-hidden",
            "HEAD",
            "/blobs/",
            e => Status(e, e.Status == 404, 200)
        ),
        new(
            "what was staged stays",
            "node.staging-gone",
            "GET",
            Manifest,
            e => AnswerIf(e, IsLease(e) && e.Status == 404, 200)
        ),
        new("after its result a lease goes on", "node.fencing-result", "PATCH PUT", "/leases/", After("PUT")),
        new(
            "after it was given back a lease goes on",
            "node.fencing-returned",
            "PATCH DELETE",
            "/leases/",
            After("DELETE")
        ),
        new(
            "when the job is over the lease is just lost",
            "node.fencing-job",
            "",
            "/leases/",
            e => AnswerIf(e, e.Status == 410, 409, e.Text)
        ),
        new("a lease that ran out goes on", "node.expiry", "POST PATCH", "/leases(/[^/]+)?$", ForEver()),
        new(
            "a lease that ran out uses up no attempt",
            "node.expiry",
            "POST",
            Claims,
            e => EditIf(e, e.Status == 201, json => json["attempt"] = 1)
        ),
        new("a piece of log gets 200", "node.log node.log-repeat", "PATCH", Log, e => Status(e, e.Status == 202, 200)),
        new(
            "a log counts wrong",
            "node.log",
            "PATCH",
            Log,
            e => Header(e, "Range", "0-9", e.Headers.GetValueOrDefault("Range") == "0-7")
        ),
        new(
            "a piece that comes again is refused",
            "node.log-repeat",
            "PATCH",
            Log,
            Repeated(e => AnswerIf(e, e.Status == 202, 416, Error("BUILD_LOG_RANGE_INVALID")))
        ),
        new(
            "a piece that comes again is there twice",
            "node.log-repeat",
            "GET",
            "/jobs/[^/]+/logs$",
            e => Replace(e, "one\n", "one\none\n")
        ),
        new("a gap in a log is taken", "node.log-gap", "PATCH", Log, e => AnswerIf(e, e.Status == 416, 202)),
        new("nobody says where to go on", "node.log-gap", "PATCH", Log, e => Without(e, "Range", e.Status == 416)),
        new("nobody says how much of a log there is", "node.log-received", "GET", Log, e => Without(e, "Range")),
        new(
            "one byte of a log is said to be there",
            "node.log-received",
            "GET",
            Log,
            e =>
            {
                if (!e.Headers.ContainsKey("Range"))
                {
                    e.Headers["Range"] = "0-0";
                }
            }
        ),
        new(
            "a result says not what became of it",
            "node.result",
            "PUT",
            Result,
            e => EditIf(e, e.Status == 200, json => json.AsObject().Remove("state"))
        ),
        new("a product is not published", "node.result", "HEAD", Manifest, e => Status(e, true, 404)),
        new(
            "any result is taken",
            "node.result-invalid",
            "PUT",
            Result,
            e => AnswerIf(e, e.Status == 400 && !Asks(e, "digest"), 200, "{}")
        ),
        new(
            "a lease ends with what is no result",
            "node.result-invalid",
            "PATCH",
            Lease,
            e => AnswerIf(e, e.Status == 200, 409, Error("BUILD_LEASE_LOST"))
        ),
        new(
            "the same result gets another answer",
            "node.result-repeat",
            "PUT",
            Result,
            Repeated(e => EditIf(e, e.Status == 200, json => json["published"] = false))
        ),
        new(
            "another result is taken",
            "node.result-other",
            "PUT",
            Result,
            e => AnswerIf(e, e.Status == 409, 200, "{}")
        ),
        new(
            "a product may lack what it names",
            "node.product-missing",
            "PUT",
            Result,
            e => AnswerIf(e, e.Status == 400 && Asks(e, "\"size\":16}"), 200, "{}")
        ),
        new("a product may be for any platform", "node.product-platform", "PUT", Result, e => Taken(e, "vax")),
        new("a product may have any layers", "node.product-layers", "PUT", Result, e => Taken(e, "unpack")),
        new(
            "a build is tried for ever",
            "node.attempts",
            "GET",
            Job,
            e => EditIf(e, State(e, "failed"), json => json["reason"] = "system-error")
        ),
        new(
            "attempts are not counted",
            "node.attempts",
            "POST",
            Claims,
            e => EditIf(e, e.Status == 201, json => json["attempt"] = 1)
        ),
        new("a node that gives up ends the job", "node.canceled-unasked", "", "(/result|/jobs/[^/]+)$", Unasked()),
    ];

    private static bool IsLease(Exchange e) =>
        e.RequestHeaders.GetValueOrDefault("Authorization")?.StartsWith("Bearer ", StringComparison.Ordinal) is true;

    /// <summary>A product that was refused for a reason is said to be taken.</summary>
    private static void Taken(Exchange e, string reason) =>
        AnswerIf(e, e.Status == 400 && e.Text.Contains(reason, StringComparison.Ordinal), 200, "{}");

    /// <summary>A lease that ended by a word of this kind goes on to take log.</summary>
    private static Action<Exchange> After(string method)
    {
        var ended = new HashSet<string>(StringComparer.Ordinal);
        return e =>
        {
            var lease = e.Path.Split("/leases/")[1].Split('/')[0];
            if (e.Method == method && e.Status is 200 or 204)
            {
                ended.Add(lease);
            }

            AnswerIf(e, e.Method == "PATCH" && e.Status == 409 && ended.Contains(lease), 202);
        };
    }

    /// <summary>A lease of a second goes on when it is over.</summary>
    private static Action<Exchange> ForEver()
    {
        var leases = new HashSet<string>(StringComparer.Ordinal);
        return e =>
        {
            if (e.Method == "POST" && e.Status == 201 && Asks(e, "\"leaseSeconds\":1}"))
            {
                leases.Add(BreakingProxy.Parse(e.Body)!["id"]!.ToString());
            }

            AnswerIf(e, e.Status == 409 && leases.Contains(e.Path.Split('/')[^1]), 200, "{}");
        };
    }

    /// <summary>What comes a second time, as it came before, is broken.</summary>
    private static Action<Exchange> Repeated(Action<Exchange> change)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        return e =>
        {
            if (!seen.Add(e.Path + e.RequestText))
            {
                change(e);
            }
        };
    }

    /// <summary>A job whose node said that it is canceled is canceled.</summary>
    private static Action<Exchange> Unasked()
    {
        var jobs = new HashSet<string>(StringComparer.Ordinal);
        return e =>
        {
            var job = e.Path.Split("/jobs/")[1].Split('/')[0];
            if (e.Method == "PUT" && Asks(e, "\"canceled\""))
            {
                jobs.Add(job);
            }

            EditIf(e, e.Method == "GET" && jobs.Contains(job), json => json["state"] = "canceled");
        };
    }
}
