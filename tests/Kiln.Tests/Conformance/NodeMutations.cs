using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Claims and signs of life, broken once each.</summary>
internal static class NodeMutations
{
    private const string Claims = "/_build/v1/leases$";
    private const string Lease = "/leases/[^/]+$";
    private const string Job = "/_build/v1/jobs/[^/]+$";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new(
            "a lease is another type",
            "node.claim",
            "POST",
            Claims,
            e => Header(e, "Content-Type", "application/json", e.Status == 201)
        ),
        new(
            "there is no registry-wide claim",
            "node.claim-any",
            "POST",
            "^/v2/_build/v1/leases$",
            e => e.Answer(404, Error("NAME_UNKNOWN"))
        ),
        new(
            "a query's job is not heard",
            "node.claim-any",
            "POST",
            "^/v2/_build/v1/leases$",
            e => Status(e, Has(e, "job="), 204)
        ),
        new(
            "a claim need not say its platforms",
            "node.claim-members",
            "POST",
            Claims,
            e => AnswerIf(e, e.Status == 400, 204)
        ),
        new("nobody says when to come again", "node.claim-nothing", "POST", Claims, e => Without(e, "Retry-After")),
        new(
            "a claim does not wait",
            "node.claim-wait node.claim-woken",
            "POST",
            Claims,
            e => e.RequestHeaders.Remove("Prefer")
        )
        {
            OnRequest = true,
        },
        new("a claim waits in vain", "node.claim-woken", "POST", Claims, e => AnswerIf(e, Prefers(e, "wait=20"), 204)),
        new(
            "a claim for a job that has nothing gets 204",
            "node.claim-job",
            "POST",
            Claims,
            e => AnswerIf(e, e.Status == 409 && e.Text.Contains("STATE", StringComparison.Ordinal), 204)
        ),
        new("an execution is in two leases", "node.claim-once", "POST", Claims, Again()),
        new("a key repeats no claim", "node.claim-repeat", "POST", Claims, NeverAgain()),
        new(
            "a key repeats any claim",
            "node.claim-repeat-conflict",
            "POST",
            Claims,
            e => AnswerIf(e, e.Status == 422, 204)
        ),
        new(
            "a key gives a lease that is over",
            "node.claim-repeat-over",
            "POST",
            Claims,
            e => AnswerIf(e, e.Text.Contains("BUILD_LEASE_LOST", StringComparison.Ordinal), 201, "{}")
        ),
        new(
            "a lease wants no sign of life",
            "node.lease-members",
            "POST",
            Claims,
            e => EditIf(e, e.Status == 201, json => json["heartbeatSeconds"] = 0)
        ),
        new(
            "a lease has no staging tag",
            "node.lease-members",
            "POST",
            Claims,
            e => EditIf(e, e.Status == 201, json => json["push"]!.AsObject().Remove("stagingTag"))
        ),
        new(
            "a lease has no login",
            "node.lease-members",
            "POST",
            Claims,
            e => EditIf(e, e.Status == 201, json => json["auth"]!.AsObject().Remove("password"))
        ),
        new(
            "a sign of life shortens the lease",
            "node.beat",
            "PATCH",
            Lease,
            e => EditIf(e, e.Status == 200, json => json["expires"] = "2000-01-01T00:00:00.000Z")
        ),
        new(
            "a sign of life gets no credential",
            "node.beat",
            "PATCH",
            Lease,
            e => EditIf(e, e.Status == 200, json => json.AsObject().Remove("auth"))
        ),
        new(
            "progress is not told",
            "node.beat-progress",
            "GET",
            Job,
            e => e.Edit(json => json["tasks"]![0]!.AsObject().Remove("progress"))
        ),
        new(
            "steps are not told",
            "node.beat-progress",
            "GET",
            Job,
            e => e.Edit(json => json["tasks"]![0]!.AsObject().Remove("steps"))
        ),
        new(
            "the node is not told of the end",
            "node.beat-canceled",
            "PATCH",
            Lease,
            e => EditIf(e, e.Status == 200, json => json["canceled"] = false)
        ),
        new("giving back gets 200", "node.give-back", "DELETE", Lease, e => AnswerIf(e, e.Status == 204, 200)),
        new("giving back uses up an attempt", "node.give-back", "POST", Claims, SecondAttempt()),
        new("a node is who it says it is", "node.who", "", "(" + Claims + "|" + Job + ")", Believing()),
    ];

    /// <summary>Who claims again with a key is told that there is nothing.</summary>
    private static Action<Exchange> NeverAgain()
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        return e =>
            AnswerIf(
                e,
                e.Status == 201 && e.RequestHeaders.TryGetValue("Idempotency-Key", out var key) && !keys.Add(key),
                409,
                Error("BUILD_STATE_INVALID")
            );
    }

    /// <summary>Who asks a second time for a job's task is said to have it.</summary>
    private static Action<Exchange> Again()
    {
        var jobs = new HashSet<string>(StringComparer.Ordinal);
        return e =>
        {
            var job = BreakingProxy.Parse(e.RequestBody)?["job"]?.ToString() ?? "";
            if (e.Status == 201)
            {
                jobs.Add(job);
            }

            AnswerIf(
                e,
                e.Status == 409 && jobs.Contains(job) && !e.RequestHeaders.ContainsKey("Idempotency-Key"),
                201,
                "{}"
            );
        };
    }

    private static Action<Exchange> SecondAttempt()
    {
        var jobs = new HashSet<string>(StringComparer.Ordinal);
        return e =>
            EditIf(
                e,
                e.Status == 201
                    && BreakingProxy.Parse(e.RequestBody)?["job"]?.ToString() is { } job
                    && !e.RequestHeaders.ContainsKey("Idempotency-Key")
                    && !jobs.Add(job),
                json => json["attempt"] = 2
            );
    }

    private static Action<Exchange> Believing()
    {
        var name = "";
        return e =>
        {
            if (e.Method == "POST")
            {
                name = BreakingProxy.Parse(e.RequestBody)?["node"]?.ToString() ?? name;
            }
            else
            {
                EditIf(
                    e,
                    e.Text.Contains("\"node\"", StringComparison.Ordinal),
                    json => json["tasks"]![0]!["node"] = name
                );
            }
        };
    }
}
