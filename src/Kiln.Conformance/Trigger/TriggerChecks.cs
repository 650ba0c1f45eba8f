using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Trigger;

/// <summary>Builds that a push starts: section 10 of the <c>_build</c> extension.</summary>
internal static class TriggerChecks
{
    private const string Trigger = "org.supercontainers.build.trigger";
    private const string Platforms = "org.supercontainers.build.platforms";

    public static IReadOnlyList<Check> All { get; } =
    [
        new("trigger.push", "a push of a recipe starts a job", "T-1", PushAsync),
        new("trigger.link", "the answer to the push says where the job is", "T-2", LinkAsync),
        new("trigger.warning", "and tells people", "T-2", WarningAsync),
        new("trigger.tag", "the job of a tag X.recipe is to move X", "T-1 R-10", TagAsync),
        new("trigger.none", "a recipe that does not want it is not built", "T-1", NoneAsync),
        new("trigger.no-recipe", "a push of anything else starts nothing", "T-1", OtherAsync),
        new("trigger.refused", "a build that cannot be started does not fail the push", "T-4", RefusedAsync),
    ];

    private static async Task PushAsync(Session session)
    {
        var (pushed, artifact, _) = await PushedAsync(session);
        pushed.Must(201);
        var job = (await session.GetAsync(session.At($"_build/v1/jobs?recipe={artifact.Digest}"))).Must(200).Json();
        if (job.Items("jobs") is not [{ } only])
        {
            throw new CheckFailedException($"the push started {job.Items("jobs").Count} jobs, not one");
        }

        only.MustHave("trigger", "push");
    }

    private static async Task LinkAsync(Session session)
    {
        var (pushed, artifact, _) = await PushedAsync(session);
        var link = pushed.Needed("a pushed recipe").MustHave("Link");
        if (!link.Contains($"type=\"{Types.Job}\"", StringComparison.Ordinal))
        {
            throw pushed.Failure($"has a Link that does not say type=\"{Types.Job}\": {link}");
        }

        var job = (await session.GetAsync(Links.Find(pushed, link, "status"))).Must(200).Json();
        job.Member("recipe").MustHave("digest", artifact.Digest);
    }

    private static async Task WarningAsync(Session session)
    {
        var (pushed, _, _) = await PushedAsync(session);
        var warning = pushed.Needed("a pushed recipe").MustHave("Warning");
        if (
            !warning.StartsWith("299 ", StringComparison.Ordinal)
            || !warning.Contains("/logs", StringComparison.Ordinal)
        )
        {
            throw pushed.Failure($"has Warning: {warning}, which is not 299 with the address of the log");
        }
    }

    private static async Task TagAsync(Session session)
    {
        var (pushed, artifact, tag) = await PushedAsync(session);
        pushed.Needed("a pushed recipe");
        var job = await JobOfAsync(session, artifact) ?? throw new SkippedException("a job is needed first");
        if (!job.Texts("tags").SequenceEqual([tag], StringComparer.Ordinal))
        {
            throw new CheckFailedException($"the job is to move {string.Join(", ", job.Texts("tags"))}, not {tag}");
        }
    }

    private static async Task NoneAsync(Session session)
    {
        await RequireAsync(session);
        var (pushed, artifact, _) = await PushAsync(session, "none", await Jobs.PlatformAsync(session));
        pushed.Needed("a pushed recipe");
        if (pushed.Header("Link") is not null || await JobOfAsync(session, artifact) is not null)
        {
            throw pushed.Failure("started a build of a recipe that says trigger: none");
        }
    }

    private static async Task OtherAsync(Session session)
    {
        await RequireAsync(session);
        var artifact = Content.Manifest(await session.PushAsync(Content.ItemOf("{}", Types.Empty)));
        artifact["artifactType"] = "application/vnd.example.conformance";
        artifact["annotations"] = new JsonObject { [Trigger] = "push", ["org.example.id"] = Session.Unique() };
        var item = Content.ItemOf(artifact.Bytes(), Types.Manifest);
        var pushed = (await session.PutManifestAsync(item, "t" + Session.Unique())).Needed("a pushed manifest");
        if (pushed.Header("Link") is not null)
        {
            throw pushed.Failure($"has a Link, though nothing was to be built: {pushed.Header("Link")}");
        }
    }

    private static async Task RefusedAsync(Session session)
    {
        await RequireAsync(session);
        var (pushed, artifact, _) = await PushAsync(session, "push", "plan9/pdp11");
        pushed.Must(201);
        if (pushed.Header("Link") is not null)
        {
            throw pushed.Failure("has a Link, though nothing can be built");
        }

        if (!pushed.MustHave("Warning").StartsWith("299 ", StringComparison.Ordinal))
        {
            throw pushed.Failure($"has Warning: {pushed.Header("Warning")}, not 299 and why nothing was built");
        }

        (await session.GetAsync(session.At($"manifests/{artifact.Digest}"))).Must(200).MustEqual(artifact.Bytes);
    }

    private static async Task<(Answer Pushed, Item Artifact, string Tag)> PushedAsync(Session session)
    {
        await RequireAsync(session);
        return await PushAsync(session, "push", await Jobs.PlatformAsync(session));
    }

    // Where a push starts nothing, there is nothing to see; both other words build what says "push".
    private static async Task RequireAsync(Session session)
    {
        await Jobs.PlatformAsync(session);
        await session.PushArtifactAsync();
        var info = (await session.GetAsync(session.At("_build/v1/info"))).Needed("info of the repository").Json();
        if (info.Member("trigger").MaybeText("onPush") == "off")
        {
            throw new UnsupportedException("trigger.onPush is off in this repository");
        }
    }

    private static async Task<(Answer Pushed, Item Artifact, string Tag)> PushAsync(
        Session session,
        string trigger,
        string platform
    )
    {
        var layer = await session.PushAsync(RecipeChecks.Dockerfile());
        var manifest = Content.Manifest(await session.PushAsync(Content.ItemOf("{}", Types.Empty)), layer);
        manifest["artifactType"] = Types.Recipe;
        manifest["annotations"] = new JsonObject { [Trigger] = trigger, [Platforms] = platform };
        var tag = "t" + Session.Unique();
        var artifact = Content.ItemOf(manifest.Bytes(), Types.Manifest);
        var pushed = await session.PutManifestAsync(artifact, tag + ".recipe");
        session.Afterwards.Add(async () =>
        {
            if (await JobOfAsync(session, artifact) is { } job)
            {
                await session.DeleteAsync(Jobs.At(session, job));
            }
        });
        return (pushed, artifact, tag);
    }

    private static async Task<JsonNode?> JobOfAsync(Session session, Item artifact)
    {
        var answer = await session.GetAsync(session.At($"_build/v1/jobs?recipe={artifact.Digest}"));
        return answer.Needed("the list of jobs").Json().Items("jobs") is [{ } first, ..] ? first : null;
    }
}
