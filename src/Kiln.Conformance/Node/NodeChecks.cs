using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Node;

/// <summary>Claims, leases and signs of life: section 13 of the <c>_build</c> extension.</summary>
internal static class NodeChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("node.claim", "a claim takes a task, and gets a lease", "N-2", ClaimAsync),
        new("node.claim-any", "in the repository, or in the whole registry", "N-1", AnywhereAsync),
        new("node.claim-members", "a claim without its members is refused", "N-1", MembersAsync),
        new("node.claim-nothing", "a claim that nothing fits gets 204, and when to come again", "N-2", NothingAsync),
        new("node.claim-wait", "after the preferred wait", "N-2", WaitAsync),
        new("node.claim-woken", "a claim that waits is answered when there is work", "N-2", WokenAsync),
        new("node.claim-job", "a claim for a job that has nothing gets 409", "N-2", NothingOfJobAsync),
        new("node.claim-once", "an execution is in one lease at a time", "N-2", OnceAsync),
        new("node.claim-repeat", "a key makes a claim repeatable", "N-3", RepeatAsync),
        new("node.claim-repeat-conflict", "but only the same one", "N-3", RepeatConflictAsync),
        new("node.claim-repeat-over", "and only while the lease lives", "N-3", RepeatOverAsync),
        new("node.lease-members", "a lease says all that there is to know", "N-4", LeaseAsync),
        new("node.beat", "a sign of life makes the lease longer", "N-8", BeatAsync),
        new("node.beat-progress", "what it says stands in the job", "N-8", ProgressAsync),
        new("node.beat-canceled", "the node is asked to end what nobody wants", "N-8 C-2", CanceledAsync),
        new("node.give-back", "a lease is given back, and no attempt used up", "N-15", GiveBackAsync),
        new("node.who", "who builds says the credential", "N-5", WhoAsync),
    ];

    private static async Task ClaimAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        var answer = (await node.OfferAsync(node.Offer(job.Text("id")))).Must(201).MustBe(Types.Lease);
        answer.MustHave("Location");
        answer.Json().Text("id");
        (await Jobs.NowAsync(session, job)).MustHave("state", "running");
    }

    private static async Task AnywhereAsync(Session session)
    {
        var node = await session.NodeAsync();
        foreach (var query in new[] { "", "?job=" })
        {
            var job = await Jobs.NewAsync(session);
            var call = new Call("POST", "/v2/_build/v1/leases" + (query.Length > 0 ? query + job.Text("id") : ""));
            var answer = await session.SendAsync(call.WithJson(node.Offer(query.Length > 0 ? null : job.Text("id"))));
            if (answer.Status is 401 or 403)
            {
                throw new SkippedException(
                    $"these credentials may take leases in the repository only: {answer.Status}"
                );
            }

            answer.Must(201).Json().MustHave("repository", session.Repository);
        }
    }

    private static async Task MembersAsync(Session session)
    {
        var node = await session.NodeAsync();
        foreach (var member in new[] { "node", "platforms", "recipes", "outputs" })
        {
            var offer = node.Offer();
            offer.Remove(member);
            (await node.OfferAsync(offer)).MustFail(400, "BUILD_REQUEST_INVALID");
        }
    }

    private static async Task NothingAsync(Session session)
    {
        var node = await session.NodeAsync();
        (await node.OfferAsync()).Must(204).MustHave("Retry-After");
    }

    private static async Task WaitAsync(Session session)
    {
        var node = await session.NodeAsync();
        var started = System.Diagnostics.Stopwatch.GetTimestamp();
        var answer = (await node.OfferAsync(change: call => call.Waiting(1))).Must(204);
        var took = System.Diagnostics.Stopwatch.GetElapsedTime(started);
        if (took < TimeSpan.FromMilliseconds(900))
        {
            throw answer.Failure($"answered 204 after {took.TotalMilliseconds:F0} ms of a wait of 1 s");
        }
    }

    private static async Task WokenAsync(Session session)
    {
        var node = await session.NodeAsync();
        var waiting = node.OfferAsync(change: call => call.Waiting(20));
        await session.LetPassAsync();
        var job = await Jobs.NewAsync(session);
        var answer = (await waiting).Must(201);
        if (!answer.Json().Text("job").EndsWith(job.Text("id"), StringComparison.Ordinal))
        {
            await new PlayedLease(session, answer).GiveBackAsync();
            throw new SkippedException("somebody else's job came first");
        }
    }

    private static async Task NothingOfJobAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        (await session.DeleteAsync(Jobs.At(session, job))).Needed("a canceled job");
        await Jobs.EndAsync(session, job);
        (await node.OfferAsync(node.Offer(job.Text("id")))).MustFail(409, "BUILD_STATE_INVALID");
    }

    private static async Task OnceAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        await node.ClaimAsync(job);
        if ((await node.OfferAsync(node.Offer(job.Text("id")))).Status == 201)
        {
            throw new CheckFailedException("a second lease was given for an execution that is in one");
        }
    }

    private static async Task RepeatAsync(Session session)
    {
        var node = await session.NodeAsync();
        var (offer, key) = (node.Offer((await Jobs.NewAsync(session)).Text("id")), Session.Unique());
        var first = (await node.OfferAsync(offer, call => call.With("Idempotency-Key", key))).Needed("a lease");
        var again = (await node.OfferAsync(offer, call => call.With("Idempotency-Key", key))).Must(201);
        again.Json().MustHave("id", first.Json().Text("id"));
        (await new PlayedLease(session, again).BeatAsync()).Must(200);
    }

    private static async Task RepeatConflictAsync(Session session)
    {
        var node = await session.NodeAsync();
        var (offer, key) = (node.Offer((await Jobs.NewAsync(session)).Text("id")), Session.Unique());
        (await node.OfferAsync(offer, call => call.With("Idempotency-Key", key))).Needed("a lease");
        offer["leaseSeconds"] = 17;
        (await node.OfferAsync(offer, call => call.With("Idempotency-Key", key))).MustFail(
            422,
            "BUILD_IDEMPOTENCY_CONFLICT"
        );
    }

    private static async Task RepeatOverAsync(Session session)
    {
        var node = await session.NodeAsync();
        var (offer, key) = (node.Offer((await Jobs.NewAsync(session)).Text("id")), Session.Unique());
        var first = (await node.OfferAsync(offer, call => call.With("Idempotency-Key", key))).Needed("a lease");
        await new PlayedLease(session, first).FailAsync();
        (await node.OfferAsync(offer, call => call.With("Idempotency-Key", key))).MustFail(409, "BUILD_LEASE_LOST");
    }

    private static async Task LeaseAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        var lease = (await node.ClaimAsync(job)).Document;
        foreach (var member in new[] { "id", "execution", "expires", "job" })
        {
            lease.Text(member);
        }

        Ids.MustBe(lease.Text("id"));
        lease.MustHave("taskId", "t1");
        lease.MustHave("repository", session.Repository);
        if (lease.Number("attempt") != 1 || lease.Number("heartbeatSeconds") < 1)
        {
            throw new CheckFailedException("'attempt' is not 1, or 'heartbeatSeconds' less than 1");
        }

        var task = lease.Member("task");
        task.Member("platform");
        task.MustHave("format", "oci");
        task.MustHave("recipeType", "dockerfile");
        task.Member("recipe").Text("digest");
        task.Text("network");
        task.Number("timeoutSeconds");
        task.Flag("useStepCache");
        foreach (var member in new[] { "registry", "repository", "stagingTag" })
        {
            lease.Member("push").Text(member);
        }

        foreach (var member in new[] { "token", "username", "password", "expires" })
        {
            lease.Member("auth").Text(member);
        }
    }

    private static async Task BeatAsync(Session session)
    {
        var lease = await (await session.NodeAsync()).ClaimAsync(await Jobs.NewAsync(session));
        var answer = (await lease.BeatAsync()).Must(200).Json();
        if (answer.Flag("canceled"))
        {
            throw new CheckFailedException("the node is asked to end a build that is wanted");
        }

        answer.Member("auth").Text("token");
        if (string.CompareOrdinal(answer.Text("expires"), lease.Document.Text("expires")) < 0)
        {
            throw new CheckFailedException("'expires' is earlier than before");
        }
    }

    private static async Task ProgressAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        var lease = await (await session.NodeAsync()).ClaimAsync(job);
        var words = new JsonObject
        {
            ["phase"] = "building",
            ["progress"] = "step 1/2",
            ["steps"] = new JsonArray(
                new JsonObject
                {
                    ["number"] = 1,
                    ["total"] = 2,
                    ["text"] = "FROM scratch",
                    ["cached"] = false,
                }
            ),
        };
        (await lease.BeatAsync(words)).Must(200);
        var task = Jobs.Task(await Jobs.NowAsync(session, job));
        task.MustHave("phase", "building");
        task.MustHave("progress", "step 1/2");
        task.First("steps").MustHave("text", "FROM scratch");
    }

    private static async Task CanceledAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        var lease = await (await session.NodeAsync()).ClaimAsync(job);
        (await session.DeleteAsync(Jobs.At(session, job))).Needed("a canceled job");
        if (!(await lease.BeatAsync()).Must(200).Json().Flag("canceled"))
        {
            throw new CheckFailedException("the node is not told that the build is canceled");
        }

        (await lease.ResultAsync(PlayedLease.Canceled())).Must(200);
        Jobs.MustBe(await Jobs.NowAsync(session, job), "canceled");
    }

    private static async Task GiveBackAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        (await (await node.ClaimAsync(job)).GiveBackAsync()).Must(204);
        (await Jobs.NowAsync(session, job)).MustHave("state", "queued");
        var again = (await node.ClaimAsync(job)).Document;
        if (again.Number("attempt") != 1)
        {
            throw new CheckFailedException($"after being given back it is attempt {again.Number("attempt")}, not 1");
        }
    }

    private static async Task WhoAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        var offer = node.Offer(job.Text("id"));
        var name = "x" + Session.Unique();
        offer["node"] = name;
        (await node.OfferAsync(offer)).Needed("a lease");
        var task = Jobs.Task(await Jobs.NowAsync(session, job));
        if (task.Text("node") == name)
        {
            throw new CheckFailedException(
                "the job says of its node what that said of itself, not whose credential it has"
            );
        }
    }
}
