using System.Globalization;
using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Node;

/// <summary>What a lease's credential opens, logs and results: section 13 of the <c>_build</c> extension.</summary>
internal static class LeaseChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("node.credential-read", "the credential reads the task's recipe", "N-6", ReadAsync),
        new("node.credential-only", "it opens nothing that is not the lease's", "N-6", OnlyAsync),
        new("node.credential-subject", "a manifest with a subject is refused", "N-6", SubjectAsync),
        new("node.credential-other", "it does not count for another lease", "N-6", OtherAsync),
        new("node.staging-tag", "the staging tag is the lease's alone", "N-6 N-7", StagingTagAsync),
        new("node.staging-hidden", "what is pushed under a lease nobody else sees", "N-7", HiddenAsync),
        new("node.staging-gone", "and it is gone with the lease", "N-7", GoneAsync),
        new("node.fencing-result", "after its result a lease has nothing to say", "N-9", FencedByResultAsync),
        new("node.fencing-returned", "after it was given back, neither", "N-9", FencedByReturnAsync),
        new("node.fencing-job", "when the job is over as well, it is gone", "N-9", GoneWithJobAsync),
        new("node.expiry", "a lease without a sign of life ends, and its build waits again", "N-9 N-16", ExpiryAsync),
        new("node.log", "a log is appended to, piece by piece", "N-10", LogAsync),
        new("node.log-repeat", "the last piece may come again", "N-10", LogRepeatAsync),
        new("node.log-gap", "a piece that is not the next one gets 416", "N-10", LogGapAsync),
        new("node.log-received", "the registry says how much it has", "N-10", LogReceivedAsync),
        new("node.result", "a result ends the build", "N-12", ResultAsync),
        new("node.result-invalid", "what is no result is refused, and the lease goes on", "N-12", InvalidAsync),
        new("node.result-repeat", "the same result gets the same answer", "N-13", RepeatAsync),
        new("node.result-other", "another one after it is refused", "N-13", OtherResultAsync),
        new("node.product-missing", "a product that names what is not there is refused", "N-14 P-3", MissingAsync),
        new("node.product-platform", "and one for another platform", "N-14 P-3", PlatformAsync),
        new("node.product-layers", "and one whose layers are others than it says", "N-14", DiffIdsAsync),
        new("node.canceled-unasked", "a node that gives up unasked ends an attempt only", "N-16", UnaskedAsync),
        new("node.attempts", "an attempt that failed is tried again, so many times", "N-16 S-4", AttemptsAsync),
    ];

    private static async Task ReadAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        var recipe = lease.Task.Member("recipe").Text("digest");
        var answer = (await lease.SendAsync(new Call("GET", session.At($"blobs/{recipe}")))).Must(200);
        if (Content.Sha256(answer.Body) != recipe)
        {
            throw answer.Failure("gave other bytes than the recipe's");
        }
    }

    private static async Task OnlyAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        var tag = "t" + Session.Unique();
        var manifest = await session.PushArtifactAsync(tag);
        var own = await lease.PushImageAsync();
        foreach (
            var call in new[]
            {
                new Call("PUT", session.At($"manifests/{tag}")).WithBody(own.Bytes, own.MediaType),
                new Call("DELETE", session.At($"manifests/{manifest.Digest}")),
                new Call("GET", session.At("tags/list")),
                new Call("GET", session.At("_build/v1/jobs")),
                new Call("DELETE", Jobs.At(session, job)),
                new Call("POST", session.At("_build/v1/jobs")).WithJson(await Jobs.RequestAsync(session)),
                new Call("POST", session.At("_build/v1/secrets")).WithBody("x"u8.ToArray(), Types.OctetStream),
            }
        )
        {
            var answer = await lease.SendAsync(call);
            if (answer.Status is < 400 or >= 500)
            {
                throw answer.Failure($"answered {answer.Status} to the credential of a lease");
            }
        }

        (await session.GetAsync(session.At($"manifests/{tag}"))).Must(200).MustEqual(manifest.Bytes);
    }

    private static async Task SubjectAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        var image = await lease.PushImageAsync();
        var referrer = JsonNode.Parse(image.Bytes)!.AsObject();
        referrer["subject"] = image.Descriptor;
        var item = Content.ItemOf(referrer.Bytes(), Types.Manifest);
        if ((await lease.PutManifestAsync(item, item.Digest)) is { Status: < 400 or >= 500 } answer)
        {
            throw answer.Failure($"answered {answer.Status} to a manifest with a subject");
        }
    }

    private static async Task OtherAsync(Session session)
    {
        var (_, _, one) = await StartAsync(session);
        var (_, _, other) = await StartAsync(session);
        (await other.SendAsync(new Call("PATCH", one.Address).WithJson(new JsonObject()))).MustFail(
            404,
            "BUILD_LEASE_UNKNOWN"
        );
    }

    private static async Task StagingTagAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        var tag = lease.Document.Member("push").Text("stagingTag");
        var image = await lease.PushImageAsync(reference: tag);
        (await lease.SendAsync(new Call("GET", session.At($"manifests/{tag}")))).Must(200).MustEqual(image.Bytes);
        (await session.GetAsync(session.At($"manifests/{tag}"))).Must(404);
        (await lease.ResultAsync(PlayedLease.Succeeded(image))).Must(200);
        (await Jobs.NowAsync(session, job)).MustHave("state", "succeeded");
    }

    private static async Task HiddenAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        var image = await lease.PushImageAsync();
        (await session.GetAsync(session.At($"manifests/{image.Digest}"))).Must(404);
        var layer = JsonNode.Parse(image.Bytes).Member("config").Text("digest");
        (await session.HeadAsync(session.At($"blobs/{layer}"))).Must(404);
    }

    private static async Task GoneAsync(Session session)
    {
        var (node, job, lease) = await StartAsync(session);
        var image = await lease.PushImageAsync();
        (await lease.GiveBackAsync()).Needed("a lease that was given back");
        var next = await node.ClaimAsync(job);
        (await next.SendAsync(new Call("GET", session.At($"manifests/{image.Digest}")))).Must(404);
    }

    private static async Task FencedByResultAsync(Session session)
    {
        // The job is not over: another task of it waits.
        var node = await session.NodeAsync();
        var request = await Jobs.RequestAsync(session);
        request["targets"] = Json.ArrayOf(
            new JsonObject { ["platform"] = node.Platform },
            new JsonObject { ["platform"] = node.OtherPlatform }
        );
        var lease = await node.ClaimAsync(await Jobs.NewAsync(session, request));
        await lease.SucceedAsync();
        await MustBeOverAsync(lease, 409);
    }

    private static async Task FencedByReturnAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        (await lease.GiveBackAsync()).Needed("a lease that was given back");
        await MustBeOverAsync(lease, 409);
    }

    private static async Task GoneWithJobAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        await lease.FailAsync();
        await MustBeOverAsync(lease, 410);
    }

    private static async Task MustBeOverAsync(PlayedLease lease, int status)
    {
        (await lease.BeatAsync()).MustFail(status, "BUILD_LEASE_LOST");
        (await lease.LogAsync(0, "more\n")).MustFail(status, "BUILD_LEASE_LOST");
        (await lease.GiveBackAsync()).MustFail(status, "BUILD_LEASE_LOST");
    }

    private static async Task ExpiryAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        var offer = node.Offer(job.Text("id"));
        offer["leaseSeconds"] = 1;
        var claimed = (await node.OfferAsync(offer)).Needed("a lease");
        var lease = new PlayedLease(session, claimed);
        // By the registry's clock alone: it need not be this machine's.
        if (
            DateTimeOffset.TryParse(claimed.Header("Date"), CultureInfo.InvariantCulture, out var now)
            && DateTimeOffset.TryParse(lease.Document.Text("expires"), CultureInfo.InvariantCulture, out var end)
            && end - now > session.Options.Patience / 2
        )
        {
            throw new SkippedException($"a lease lives {(end - now).TotalSeconds:F0} s here at least");
        }

        await session.UntilAsync(
            async () => (await Jobs.NowAsync(session, job)).Text("state") == "queued" ? "yes" : null,
            "the end of a lease that gave no sign of life"
        );
        (await lease.BeatAsync()).MustFail(409, "BUILD_LEASE_LOST");
        if ((await node.NextAsync(job)).Document.Number("attempt") != 2)
        {
            throw new CheckFailedException("the next lease is not attempt 2");
        }
    }

    private static async Task LogAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        (await lease.LogAsync(0, "one\n")).Must(202).MustHave("Range", "0-3");
        (await lease.LogAsync(4, "two\n")).Must(202).MustHave("Range", "0-7");
        var log = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log");
        if (!log.Text.EndsWith("one\ntwo\n", StringComparison.Ordinal))
        {
            throw log.Failure("does not end with what the node wrote");
        }
    }

    private static async Task LogRepeatAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        (await lease.LogAsync(0, "one\n")).Needed("a log");
        (await lease.LogAsync(0, "one\n")).Must(202).MustHave("Range", "0-3");
        var log = (await session.GetAsync(Jobs.At(session, job, "/logs"))).Needed("the log");
        if (log.Text.Split("one\n").Length != 2)
        {
            throw log.Failure("has a piece twice that came twice");
        }
    }

    private static async Task LogGapAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        (await lease.LogAsync(0, "one\n")).Needed("a log");
        (await lease.LogAsync(7, "two\n")).MustFail(416, "BUILD_LOG_RANGE_INVALID").MustHave("Range", "0-3");
    }

    private static async Task LogReceivedAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        var call = new Call("GET", lease.Address + "/log");
        if ((await lease.SendAsync(call)).Must(204) is var nothing && nothing.Header("Range") is { } range)
        {
            throw nothing.Failure($"has Range: {range}, where nothing has come");
        }

        (await lease.LogAsync(0, "one\n")).Needed("a log");
        (await lease.SendAsync(call)).Must(204).MustHave("Range", "0-3");
    }

    private static async Task ResultAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        var image = await lease.PushImageAsync();
        var answer = (await lease.ResultAsync(PlayedLease.Succeeded(image))).Must(200).Json();
        answer.MustHave("state", "succeeded");
        if (!answer.Flag("published"))
        {
            throw new CheckFailedException("'published' is false");
        }

        (await Jobs.NowAsync(session, job)).MustHave("state", "succeeded");
        (await session.HeadAsync(session.At($"manifests/{image.Digest}"))).Must(200);
    }

    private static async Task InvalidAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        foreach (
            var result in new JsonObject[]
            {
                [],
                new() { ["state"] = "well" },
                new() { ["state"] = "succeeded" },
                new() { ["state"] = "failed" },
            }
        )
        {
            (await lease.ResultAsync(result)).MustFail(400, "BUILD_RESULT_INVALID");
        }

        (await lease.BeatAsync()).Must(200);
    }

    private static async Task RepeatAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        var result = PlayedLease.Succeeded(await lease.PushImageAsync());
        var first = (await lease.ResultAsync(result)).Needed("a result");
        (await lease.ResultAsync(result)).Must(200).MustEqual(first.Body);
    }

    private static async Task OtherResultAsync(Session session)
    {
        var (_, _, lease) = await StartAsync(session);
        (await lease.ResultAsync(PlayedLease.Succeeded(await lease.PushImageAsync()))).Needed("a result");
        (await lease.ResultAsync(PlayedLease.Failed())).MustFail(409, "BUILD_STATE_INVALID");
    }

    private static async Task MissingAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        var missing = Content.ItemOf(Content.Random(16), Types.Manifest);
        await MustBeRefusedAsync(session, job, lease, missing);
    }

    private static async Task PlatformAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        await MustBeRefusedAsync(session, job, lease, await lease.PushImageAsync(platform: "linux/vax"));
    }

    private static async Task DiffIdsAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        var image = await lease.PushImageAsync(diffId: Content.Sha256(Content.Random(8)));
        await MustBeRefusedAsync(session, job, lease, image);
    }

    private static async Task MustBeRefusedAsync(Session session, JsonNode job, PlayedLease lease, Item product)
    {
        (await lease.ResultAsync(PlayedLease.Succeeded(product))).MustFail(400, "BUILD_RESULT_INVALID");
        (await session.GetAsync(session.At($"manifests/{product.Digest}"))).Must(404);
        // It ends the lease, and the build waits for its next attempt.
        (await lease.BeatAsync()).MustFail(409, "BUILD_LEASE_LOST");
        (await Jobs.NowAsync(session, job)).MustHave("state", "queued");
    }

    private static async Task UnaskedAsync(Session session)
    {
        var (_, job, lease) = await StartAsync(session);
        (await lease.ResultAsync(PlayedLease.Canceled())).Needed("a result");
        (await Jobs.NowAsync(session, job)).MustHave("state", "queued");
    }

    private static async Task AttemptsAsync(Session session)
    {
        var node = await session.NodeAsync();
        var most = (await session.InfoAsync()).Member("lease").Number("maxAttempts");
        if (most > 20)
        {
            throw new SkippedException($"a build is tried {most} times here");
        }

        var job = await Jobs.NewAsync(session);
        for (var attempt = 1; attempt <= most; attempt++)
        {
            var lease = await node.NextAsync(job);
            if (lease.Document.Number("attempt") != attempt)
            {
                throw new CheckFailedException(
                    $"the lease is attempt {lease.Document.Number("attempt")}, not {attempt}"
                );
            }

            (await lease.ResultAsync(PlayedLease.Failed("system-error", retryable: true))).Needed("a result");
        }

        var end = await Jobs.EndAsync(session, job);
        Jobs.MustBe(end, "failed");
        end.MustHave("reason", "attempts-exhausted");
    }

    private static async Task<(PlayedNode Node, JsonNode Job, PlayedLease Lease)> StartAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        return (node, job, await node.ClaimAsync(job));
    }
}
