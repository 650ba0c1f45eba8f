using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Asking for builds: section 3 of the <c>_build</c> extension, and what holds for all of it.</summary>
internal static class RequestChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.accepted", "a request becomes a job, with its address", "J-1 J-7", AcceptedAsync),
        new("request.json", "a request may be application/json", "G-3", JsonAsync),
        new("request.accept", "who accepts application/json only gets that", "G-3", AcceptAsync),
        new("request.errors", "errors have their form, status and code", "G-1", ErrorsAsync),
        new("request.head", "HEAD is answered as GET is", "G-2", HeadAsync),
        new("request.ids", "ids are short words", "G-4", IdsAsync),
        new("request.no-nulls", "members without a value are absent", "G-5", NoNullsAsync),
        new("request.wait-held", "an answer is held as long as it is preferred", "G-6 S-2", WaitAsync),
        new("request.wait-cut", "a preferred wait is cut, and the answer says to what", "G-6", WaitCutAsync),
        new("request.unknown-member", "members that nobody knows are ignored", "J-2", UnknownMemberAsync),
        new("request.must-understand", "unless they have to be understood", "J-2", MustUnderstandAsync),
        new("request.equal-targets", "equal targets count once", "J-3", EqualTargetsAsync),
        new("request.inline-recipe", "an inline recipe is kept as an artifact, once", "J-4", InlineRecipeAsync),
        new("request.raw", "a recipe may be the body, and options the query", "J-5", RawAsync),
        new("request.raw-parameter", "a parameter that nobody knows is refused", "J-5", RawParameterAsync),
        new("request.options", "arguments, labels, stage and times come to the node", "J-1", OptionsAsync),
        new("request.repeatable", "a key makes a request repeatable", "J-9", RepeatableAsync),
        new("request.repeatable-conflict", "but only the same one", "J-9", ConflictAsync),
        new("request.if-unchanged", "a tag that has moved is not moved by if-unchanged", "J-10", IfUnchangedAsync),
        new("request.create-only", "a tag that is there is not moved by create-only", "J-10", CreateOnlyAsync),
    ];

    private static async Task AcceptedAsync(Session session)
    {
        var answer = (await Jobs.PostAsync(session, await Jobs.RequestAsync(session))).Must(202).MustBe(Types.Job);
        answer.MustHave("Retry-After");
        var job = answer.Json();
        var again = (await session.GetAsync(answer.Location.AbsoluteUri)).Must(200).MustBe(Types.Job).Json();
        again.MustHave("id", job.Text("id"));
    }

    private static async Task JsonAsync(Session session)
    {
        var call = new Call("POST", session.At("_build/v1/jobs")).WithJson(await Jobs.RequestAsync(session));
        var answer = await session.SendAsync(call);
        Jobs.CancelLater(session, answer);
        answer.MustSucceed().Json().Text("id");
    }

    private static async Task AcceptAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        foreach (var path in new[] { Jobs.At(session, job), session.At("_build/v1/jobs?n=1") })
        {
            var answer = await session.SendAsync(new Call("GET", path).With("Accept", "application/json"));
            answer.Must(200).MustBe("application/json");
        }
    }

    private static async Task ErrorsAsync(Session session)
    {
        (await session.GetAsync(session.At("_build/v1/jobs/none-" + Session.Unique()))).MustFail(404, "BUILD_UNKNOWN");
        var call = new Call("POST", session.At("_build/v1/jobs"));
        (await session.SendAsync(call.WithBody("{"u8.ToArray(), Types.Request))).MustFail(400, "BUILD_REQUEST_INVALID");
        (await session.SendAsync(call.WithJson(new JsonObject(), Types.Request))).MustFail(
            400,
            "BUILD_REQUEST_INVALID"
        );
    }

    private static async Task HeadAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        foreach (
            var path in new[]
            {
                Jobs.At(session, job),
                Jobs.At(session, job, "/logs"),
                session.At("_build/v1/jobs?n=1"),
            }
        )
        {
            if ((await session.HeadAsync(path)).Must(200) is { Body.Length: > 0 } answer)
            {
                throw answer.Failure("has a body");
            }
        }
    }

    private static async Task IdsAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        foreach (var id in new[] { job.Text("id"), Jobs.Task(job).Text("id"), Jobs.Task(job).Text("execution") })
        {
            Ids.MustBe(id);
        }
    }

    private static async Task NoNullsAsync(Session session)
    {
        var job = await Jobs.NowAsync(session, await Jobs.NewAsync(session));
        if (Json.NullIn(job) is { } path)
        {
            throw new CheckFailedException($"{path} of the job is null");
        }
    }

    private static async Task WaitAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        var started = System.Diagnostics.Stopwatch.GetTimestamp();
        var answer = (await session.SendAsync(new Call("GET", Jobs.At(session, job)).Waiting(1))).Must(200);
        answer.MustHave("Preference-Applied", "wait=1");
        var took = System.Diagnostics.Stopwatch.GetElapsedTime(started);
        if (took < TimeSpan.FromMilliseconds(900) && !answer.Json().Flag("done"))
        {
            throw answer.Failure(
                $"came after {took.TotalMilliseconds:F0} ms, before the job's end and before the wait of 1 s was over"
            );
        }
    }

    private static async Task WaitCutAsync(Session session)
    {
        var most = (await session.InfoAsync()).Member("limits").Number("maxWaitSeconds");
        var job = await Jobs.NewAsync(session);
        (await session.DeleteAsync(Jobs.At(session, job))).Needed("a canceled job");
        await Jobs.EndAsync(session, job);
        var call = new Call("GET", Jobs.At(session, job)).With("Prefer", "wait=1000000");
        (await session.SendAsync(call with { Wait = TimeSpan.FromSeconds(Math.Min(most, 120)) }))
            .Must(200)
            .MustHave("Preference-Applied", $"wait={most}");
    }

    private static async Task UnknownMemberAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["org.example.unknown"] = new JsonObject { ["a"] = 1 };
        (await Jobs.PostAsync(session, request)).MustSucceed();
    }

    private static async Task MustUnderstandAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["org.example.unknown"] = true;
        request["mustUnderstand"] = new JsonArray("org.example.unknown");
        (await Jobs.PostAsync(session, request)).MustFail(400, "BUILD_REQUEST_INVALID");
    }

    private static async Task EqualTargetsAsync(Session session)
    {
        var platforms = (await session.InfoAsync()).Texts("platforms");
        string[]? pair =
            platforms.Contains("linux/amd64", StringComparer.Ordinal) ? ["linux/amd64", "linux/amd64/v1"]
            : platforms.Contains("linux/arm64", StringComparer.Ordinal) ? ["linux/arm64", "linux/arm64/v8"]
            : throw new SkippedException("nothing is built for linux/amd64 or linux/arm64, whose names have two forms");
        var request = await Jobs.RequestAsync(session);
        request["targets"] = Json.ArrayOf(pair.Select(platform => new JsonObject { ["platform"] = platform }));
        var job = (await Jobs.PostAsync(session, request)).MustSucceed().Json();
        if (job.Items("tasks").Count != 1)
        {
            throw new CheckFailedException($"{pair[0]} and {pair[1]} became {job.Items("tasks").Count} tasks");
        }
    }

    private static async Task InlineRecipeAsync(Session session)
    {
        var recipe = Jobs.Recipe();
        var job = await Jobs.NewAsync(session, await Jobs.RequestAsync(session, recipe));
        var digest = job.Member("recipe").Text("digest");
        var manifest = (await session.GetAsync(session.At($"manifests/{digest}"))).Must(200).Json();
        if (
            manifest.MaybeText("artifactType") != Types.Recipe
            && manifest.Member("config").Text("mediaType") != Types.RecipeConfig
        )
        {
            throw new CheckFailedException($"the manifest {digest} that the job names is no recipe artifact");
        }

        var layer = manifest.First("layers").Text("digest");
        (await session.GetAsync(session.At($"blobs/{layer}"))).Must(200).MustEqual(Encoding.UTF8.GetBytes(recipe));
        var again = await Jobs.NewAsync(session, await Jobs.RequestAsync(session, recipe));
        again.Member("recipe").MustHave("digest", digest);
    }

    private static async Task RawAsync(Session session)
    {
        var platform = await Jobs.PlatformAsync(session);
        var recipe = Jobs.Recipe();
        var tag = "t" + Session.Unique();
        var answer = await session.SendAsync(
            new Call("POST", session.At($"_build/v1/jobs?tag={tag}&platform={platform}&arg.A=b")).WithBody(
                Encoding.UTF8.GetBytes(recipe),
                "text/x-dockerfile"
            )
        );
        Jobs.CancelLater(session, answer);
        var job = answer.MustSucceed().Json();
        if (!job.Texts("tags").Contains(tag, StringComparer.Ordinal))
        {
            throw answer.Failure($"has tags {string.Join(", ", job.Texts("tags"))}, not {tag}");
        }

        Jobs.Task(job).MustHave("platform", platform);
        // The same request in the other form is the same build: the argument has come as well.
        var request = await Jobs.RequestAsync(session, recipe);
        request["args"] = new JsonObject { ["A"] = "b" };
        Jobs.Task(await Jobs.NewAsync(session, request)).MustHave("key", Jobs.Task(job).Text("key"));
    }

    private static async Task RawParameterAsync(Session session)
    {
        var platform = await Jobs.PlatformAsync(session);
        var answer = await session.SendAsync(
            new Call("POST", session.At($"_build/v1/jobs?platform={platform}&colour=red")).WithBody(
                Encoding.UTF8.GetBytes(Jobs.Recipe()),
                "text/x-dockerfile"
            )
        );
        Jobs.CancelLater(session, answer);
        answer.MustFail(400, "BUILD_REQUEST_INVALID");
    }

    private static async Task OptionsAsync(Session session)
    {
        var node = await session.NodeAsync();
        var request = await Jobs.RequestAsync(session, "FROM scratch AS one\nFROM scratch AS two\n" + Jobs.Recipe());
        request["args"] = new JsonObject { ["A"] = "b" };
        request["labels"] = new JsonObject { ["org.example.l"] = "m" };
        request["target"] = "one";
        request["timeoutSeconds"] = 120;
        request["reproducible"] = new JsonObject { ["sourceDateEpoch"] = 1_000_000 };
        var task = (await node.ClaimAsync(await Jobs.NewAsync(session, request))).Task;
        task.Member("args").MustHave("A", "b");
        task.Member("labels").MustHave("org.example.l", "m");
        task.MustHave("target", "one");
        if (task.Number("timeoutSeconds") != 120 || task.Number("sourceDateEpoch") != 1_000_000)
        {
            throw new CheckFailedException(
                $"timeoutSeconds or sourceDateEpoch are not as asked for: {task.ToJsonString()}"
            );
        }
    }

    private static async Task RepeatableAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["cache"] = new JsonObject { ["policy"] = "none" };
        var key = Session.Unique();
        var job = Jobs.NeededJob(await Jobs.PostAsync(session, request, call => call.With("Idempotency-Key", key)));
        var again = await Jobs.PostAsync(session, request, call => call.With("Idempotency-Key", key));
        again.MustSucceed().Json().MustHave("id", job.Text("id"));
    }

    private static async Task ConflictAsync(Session session)
    {
        var key = Session.Unique();
        Jobs.NeededJob(
            await Jobs.PostAsync(session, await Jobs.RequestAsync(session), call => call.With("Idempotency-Key", key))
        );
        var other = await Jobs.PostAsync(
            session,
            await Jobs.RequestAsync(session),
            call => call.With("Idempotency-Key", key)
        );
        other.MustFail(422, "BUILD_IDEMPOTENCY_CONFLICT");
    }

    private static async Task IfUnchangedAsync(Session session)
    {
        var node = await session.NodeAsync();
        var tag = "t" + Session.Unique();
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray(tag);
        request["tagPolicy"] = "if-unchanged";
        var job = await Jobs.NewAsync(session, request);
        var lease = await node.ClaimAsync(job);
        var moved = await session.PushArtifactAsync(tag);
        await lease.ResultAsync(Node.PlayedLease.Succeeded(await lease.PushImageAsync()));
        var end = await Jobs.EndAsync(session, job);
        Jobs.MustBe(end, "failed");
        end.MustHave("reason", "policy-denied");
        (await session.GetAsync(session.At($"manifests/{tag}"))).Needed("the tag").MustEqual(moved.Bytes);
    }

    private static async Task CreateOnlyAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        await session.PushArtifactAsync(tag);
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray(tag);
        request["tagPolicy"] = "create-only";
        (await Jobs.PostAsync(session, request)).MustFail(409, "BUILD_STATE_INVALID");
    }
}
