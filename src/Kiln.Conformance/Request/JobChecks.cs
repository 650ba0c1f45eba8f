using System.Text.Json.Nodes;
using Kiln.Conformance.Node;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Jobs: section 4 of the <c>_build</c> extension.</summary>
internal static class JobChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.job-members", "a job has its members", "S-1", MembersAsync),
        new("request.job-conditional", "a job that has not changed gets 304", "S-2", ConditionalAsync),
        new("request.job-wait-revision", "who names a revision waits for another", "S-2", WaitRevisionAsync),
        new("request.job-wait-end", "who waits is told at the job's end", "S-2", WaitEndAsync),
        new("request.job-states", "a job is queued, runs and has succeeded", "S-3", StatesAsync),
        new("request.job-final", "a final state never changes", "S-3", FinalAsync),
        new("request.job-result", "a job that has succeeded says what it delivered", "S-1", ResultAsync),
        new("request.job-failed", "a job that has failed says why", "S-4", FailedAsync),
        new("request.job-failed-tags", "and moves no tag", "S-5", FailedTagsAsync),
        new("request.job-first-failure", "a job fails when its first task does", "S-5", FirstFailureAsync),
        new("request.job-partial", "with partial it delivers what succeeded", "S-5", PartialAsync),
        new("request.job-tags", "the tags are there when the job has succeeded", "S-6", TagsAsync),
        new("request.list", "jobs are listed, newest first", "S-7", ListAsync),
        new("request.list-filter", "by state, tag and recipe", "S-7", FilterAsync),
        new("request.list-page", "in pages", "S-7", PageAsync),
        new("request.list-number", "n that is no number is refused", "S-7", NumberAsync),
    ];

    private static async Task MembersAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray("t" + Session.Unique());
        var job = await Jobs.NowAsync(session, await Jobs.NewAsync(session, request));
        job.MustHave("repository", session.Repository);
        foreach (var member in new[] { "id", "href", "created", "createdBy" })
        {
            job.Text(member);
        }

        job.MustHave("trigger", "request");
        job.Number("revision");
        job.Flag("done");
        job.Member("recipe").Text("digest");
        job.Member("recipe").MustHave("type", "dockerfile");
        job.Member("links").Text("logs");
        job.Member("links").Text("cancel");
        if (!job.Texts("tags").SequenceEqual(request.Texts("tags"), StringComparer.Ordinal))
        {
            throw new CheckFailedException("'tags' are not those of the request");
        }

        var task = Jobs.Task(job);
        task.MustHave("id", "t1");
        task.MustHave("platform", await Jobs.PlatformAsync(session));
        task.MustHave("format", "oci");
        foreach (var member in new[] { "state", "execution", "key", "logs" })
        {
            task.Text(member);
        }
    }

    private static async Task ConditionalAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        (await session.DeleteAsync(Jobs.At(session, job))).Needed("a canceled job");
        await Jobs.EndAsync(session, job);
        var answer = (await session.GetAsync(Jobs.At(session, job))).Needed("the job");
        var tag = answer.MustHave("ETag");
        if (tag != $"W/\"{answer.Json().Number("revision")}\"")
        {
            throw answer.Failure(
                $"has ETag: {tag}, which is not W/\"{answer.Json().Number("revision")}\", its revision"
            );
        }

        (await session.SendAsync(new Call("GET", Jobs.At(session, job)).With("If-None-Match", tag))).Must(304);
        (await session.SendAsync(new Call("GET", Jobs.At(session, job)).With("If-None-Match", "W/\"none\""))).Must(200);
    }

    private static async Task WaitRevisionAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        var tag = (await session.GetAsync(Jobs.At(session, job))).Needed("the job").Header("ETag");
        if (tag is null)
        {
            throw new SkippedException("an ETag is needed first");
        }

        var waiting = session.SendAsync(new Call("GET", Jobs.At(session, job)).With("If-None-Match", tag).Waiting(20));
        await session.LetPassAsync();
        await node.ClaimAsync(job);
        (await waiting).Must(200).Json().MustHave("state", "running");
    }

    private static async Task WaitEndAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        var waiting = session.SendAsync(new Call("GET", Jobs.At(session, job)).Waiting(20));
        await session.LetPassAsync();
        await (await node.ClaimAsync(job)).FailAsync();
        if (!(await waiting).Must(200).Json().Flag("done"))
        {
            throw new CheckFailedException("the wait of 20 s for the job's end was answered before it");
        }
    }

    private static async Task StatesAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        Jobs.MustBe(job, "queued");
        var lease = await node.ClaimAsync(job);
        var running = await Jobs.NowAsync(session, job);
        Jobs.MustBe(running, "running");
        Jobs.Task(running).MustHave("state", "running");
        running.Text("started");
        await lease.SucceedAsync();
        var end = await Jobs.NowAsync(session, job);
        Jobs.MustBe(end, "succeeded");
        Jobs.Task(end).MustHave("state", "succeeded");
        end.Text("finished");
        if (
            !(
                job.Number("revision") < running.Number("revision")
                && running.Number("revision") < end.Number("revision")
            )
        )
        {
            throw new CheckFailedException("'revision' does not grow with each change");
        }
    }

    private static async Task FinalAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        await (await node.ClaimAsync(job)).SucceedAsync();
        var end = await Jobs.NowAsync(session, job);
        (await session.DeleteAsync(Jobs.At(session, job))).Must(200);
        var after = await Jobs.NowAsync(session, job);
        after.MustHave("state", end.Text("state"));
        if (after.Number("revision") != end.Number("revision"))
        {
            throw new CheckFailedException("a job that is done got another revision");
        }
    }

    private static async Task ResultAsync(Session session)
    {
        var node = await session.NodeAsync();
        var tag = "t" + Session.Unique();
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray(tag);
        var job = await Jobs.NewAsync(session, request);
        var image = await (await node.ClaimAsync(job)).SucceedAsync();
        var end = await Jobs.EndAsync(session, job);
        if (end.Text("state") != "succeeded")
        {
            throw new SkippedException("a job that has succeeded is needed first");
        }

        var result = end.Member("result");
        result.Member("manifest").MustHave("mediaType", Types.Index);
        result.Member("manifest").Text("digest");
        if (!result.Texts("tags").SequenceEqual([tag], StringComparer.Ordinal))
        {
            throw new CheckFailedException("'result.tags' are not those of the request");
        }

        var output = result.Items("outputs").Count == 1 ? result.First("outputs") : null;
        output.MustHave("platform", node.Platform);
        output.MustHave("format", "oci");
        output.Member("manifest").MustHave("digest", image.Digest);
    }

    private static async Task FailedAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        await (await node.ClaimAsync(job)).FailAsync();
        var end = await Jobs.NowAsync(session, job);
        Jobs.MustBe(end, "failed");
        end.MustHave("reason", "recipe-error");
        if (!end.Text("message").Contains("RUN make exited 2", StringComparison.Ordinal))
        {
            throw new CheckFailedException($"'message' does not have the node's: {end.Text("message")}");
        }

        if (Jobs.Task(end).Number("exitCode") != 2)
        {
            throw new CheckFailedException("'exitCode' is not the step's");
        }
    }

    private static async Task FailedTagsAsync(Session session)
    {
        var node = await session.NodeAsync();
        var request = await Jobs.RequestAsync(session);
        string[] tags = ["t" + Session.Unique(), "t" + Session.Unique()];
        var before = await session.PushArtifactAsync(tags[0]);
        request["tags"] = new JsonArray(tags[0], tags[1]);
        var job = await Jobs.NewAsync(session, request);
        await (await node.ClaimAsync(job)).FailAsync();
        await Jobs.EndAsync(session, job);
        (await session.GetAsync(session.At($"manifests/{tags[0]}"))).Must(200).MustEqual(before.Bytes);
        (await session.GetAsync(session.At($"manifests/{tags[1]}"))).Must(404);
    }

    private static async Task FirstFailureAsync(Session session)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session, await TwoAsync(session, node));
        await (await node.ClaimAsync(job)).FailAsync();
        Jobs.MustBe(await Jobs.NowAsync(session, job), "failed");
        (await node.OfferAsync(node.Offer(job.Text("id")))).Must(409);
    }

    private static async Task PartialAsync(Session session)
    {
        var node = await session.NodeAsync();
        var tag = "t" + Session.Unique();
        var request = await TwoAsync(session, node);
        request["partial"] = true;
        request["tags"] = new JsonArray(tag);
        var job = await Jobs.NewAsync(session, request);
        await (await node.ClaimAsync(job)).FailAsync();
        if ((await Jobs.NowAsync(session, job)).Flag("done"))
        {
            throw new CheckFailedException("a job with partial ended with its first failure");
        }

        var image = await (await node.ClaimAsync(job)).SucceedAsync();
        Jobs.MustBe(await Jobs.NowAsync(session, job), "succeeded");
        var entries = (await session.GetAsync(session.At($"manifests/{tag}"))).Must(200).Json().Items("manifests");
        if (entries.Count != 1)
        {
            throw new CheckFailedException($"the index has {entries.Count} entries, not the one that succeeded");
        }

        entries[0].MustHave("digest", image.Digest);
    }

    private static async Task TagsAsync(Session session)
    {
        string[] tags = ["t" + Session.Unique(), "t" + Session.Unique()];
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray(tags[0], tags[1]);
        var end = await Jobs.BuildAsync(session, await Jobs.NewAsync(session, request));
        if (end.Text("state") != "succeeded")
        {
            throw new SkippedException($"a job that has succeeded is needed first; it is {end.Text("state")}");
        }

        foreach (var tag in tags)
        {
            var answer = (await session.GetAsync(session.At($"manifests/{tag}"))).Must(200);
            if (Content.Sha256(answer.Body) != end.Member("result").Member("manifest").Text("digest"))
            {
                throw answer.Failure("is not the manifest of the job's result");
            }
        }
    }

    private static async Task ListAsync(Session session)
    {
        var first = await Jobs.NewAsync(session);
        var second = await Jobs.NewAsync(session);
        var answer = (await session.GetAsync(session.At("_build/v1/jobs"))).Must(200).MustBe(Types.Jobs);
        var ids = IdsOf(answer);
        var (older, newer) = (ids.IndexOf(first.Text("id")), ids.IndexOf(second.Text("id")));
        if (newer < 0 || older < newer)
        {
            throw answer.Failure("does not list the newest job before the one before");
        }
    }

    private static async Task FilterAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray(tag);
        var job = await Jobs.NewAsync(session, request);
        var state = (await Jobs.NowAsync(session, job)).Text("state");
        await Jobs.NewAsync(session);
        var recipe = job.Member("recipe").Text("digest");
        foreach (
            var (query, expected) in new[]
            {
                ($"tag={tag}", 1),
                ($"recipe={recipe}", 1),
                ($"tag={tag}&state={state}", 1),
                ($"tag={tag}&state=succeeded", state == "succeeded" ? 1 : 0),
            }
        )
        {
            var answer = (await session.GetAsync(session.At($"_build/v1/jobs?{query}"))).Must(200);
            var ids = IdsOf(answer);
            if (ids.Count != expected || (expected == 1 && ids[0] != job.Text("id")))
            {
                throw answer.Failure($"?{query} lists {ids.Count} jobs, not {expected}");
            }
        }
    }

    private static async Task PageAsync(Session session)
    {
        var jobs = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            jobs.Add((await Jobs.NewAsync(session)).Text("id"));
        }

        jobs.Reverse();
        var page = (await session.GetAsync(session.At("_build/v1/jobs?n=2"))).Must(200);
        var found = IdsOf(page);
        if (found.Count != 2)
        {
            throw page.Failure($"?n=2 lists {found.Count} jobs");
        }

        var next = (await session.GetAsync(Links.Next(page, page.MustHave("Link")))).Must(200);
        found.AddRange(IdsOf(next));
        if (!found.Take(3).SequenceEqual(jobs, StringComparer.Ordinal))
        {
            throw next.Failure($"goes on with other jobs than the next ones: {string.Join(", ", found)}");
        }
    }

    private static async Task NumberAsync(Session session) =>
        (await session.GetAsync(session.At("_build/v1/jobs?n=many"))).MustFail(400, "PAGINATION_NUMBER_INVALID");

    private static async Task<JsonObject> TwoAsync(Session session, PlayedNode node)
    {
        var request = await Jobs.RequestAsync(session);
        request["targets"] = Json.ArrayOf(
            new JsonObject { ["platform"] = node.Platform },
            new JsonObject { ["platform"] = node.OtherPlatform }
        );
        return request;
    }

    private static List<string> IdsOf(Answer answer) => [.. answer.Json().Items("jobs").Select(job => job.Text("id"))];
}
