using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.PullBuild;

/// <summary>Pulls of tags that are being built.</summary>
internal static class PullBuildChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("pull-build.held", "a pull of a tag that is being built is held, and gets it", "W-1", HeldAsync),
        new("pull-build.head", "and so is HEAD", "W-1", HeadAsync),
        new("pull-build.there", "a tag that is there is answered at once", "W-1", ThereAsync),
        new("pull-build.over", "when the time is over, the client is told to come again", "W-2", OverAsync),
        new("pull-build.failed", "a pull of what failed says so", "W-2", FailedAsync),
        new("pull-build.failed-again", "and starts no build again", "W-4", FailedAgainAsync),
    ];

    private static Task HeldAsync(Session session) => HeldAsync(session, "GET");

    private static Task HeadAsync(Session session) => HeldAsync(session, "HEAD");

    private static async Task HeldAsync(Session session, string method)
    {
        await RequireAsync(session);
        var node = await session.NodeAsync();
        var (job, tag) = await WaitingAsync(session);
        var pull = session.SendAsync(PullOf(session, tag, method));
        await session.LetPassAsync();
        await (await node.ClaimAsync(job)).SucceedAsync();
        var answer = await pull;
        if (answer.Status == 429)
        {
            throw new SkippedException(
                "the registry holds no more pulls, or not for as long as a build of nothing takes"
            );
        }

        answer.Must(200);
    }

    private static async Task ThereAsync(Session session)
    {
        await RequireAsync(session);
        var tag = "t" + Session.Unique();
        var manifest = await session.PushArtifactAsync(tag);
        await WaitingAsync(session, tag);
        // One that is held would not be there before the end of this request's time.
        (await session.SendAsync(PullOf(session, tag) with { Wait = TimeSpan.Zero }))
            .Must(200)
            .MustEqual(manifest.Bytes);
    }

    private static async Task OverAsync(Session session)
    {
        var seconds = await RequireAsync(session);
        if (seconds > session.Options.Patience.TotalSeconds)
        {
            throw new SkippedException($"pulls are held for {seconds} s here");
        }

        var (job, tag) = await WaitingAsync(session);
        var started = System.Diagnostics.Stopwatch.GetTimestamp();
        var answer = (await session.SendAsync(PullOf(session, tag))).MustFail(429, "TOOMANYREQUESTS");
        answer.MustHave("Retry-After");
        var warning = answer.MustHave("Warning");
        if (
            !warning.StartsWith("299 ", StringComparison.Ordinal)
            || !warning.Contains($"{job.Text("id")}/logs", StringComparison.Ordinal)
        )
        {
            throw answer.Failure($"has Warning: {warning}, not 299 with the address of the log");
        }

        if (
            System.Diagnostics.Stopwatch.GetElapsedTime(started)
            > TimeSpan.FromSeconds(seconds) + session.Options.RequestTimeout
        )
        {
            throw answer.Failure($"was held for longer than holdSeconds, which is {seconds}");
        }
    }

    private static async Task FailedAsync(Session session)
    {
        var (job, tag) = await FailedJobAsync(session);
        var answer = (await session.SendAsync(PullOf(session, tag))).MustFail(404, "MANIFEST_UNKNOWN");
        if (!answer.Json().First("errors").Text("detail").Contains(job.Text("id"), StringComparison.Ordinal))
        {
            throw answer.Failure("has no detail with the job's address");
        }

        answer.MustHave("Warning");
    }

    private static async Task FailedAgainAsync(Session session)
    {
        var (job, tag) = await FailedJobAsync(session);
        await session.SendAsync(PullOf(session, tag));
        var jobs = (await session.GetAsync(session.At($"_build/v1/jobs?tag={tag}")))
            .Needed("the jobs")
            .Json()
            .Items("jobs");
        if (jobs.Count != 1 || jobs[0].Text("id") != job.Text("id"))
        {
            throw new CheckFailedException("a pull started a build of what had failed");
        }
    }

    private static async Task<(JsonNode Job, string Tag)> FailedJobAsync(Session session)
    {
        await RequireAsync(session);
        var node = await session.NodeAsync();
        var (job, tag) = await WaitingAsync(session);
        await (await node.ClaimAsync(job)).FailAsync();
        return (job, tag);
    }

    private static async Task<long> RequireAsync(Session session)
    {
        var pull = (await session.InfoAsync()).Member("pullBuild");
        return pull.Flag("enabled")
            ? pull.Number("holdSeconds")
            : throw new UnsupportedException("pulls are not held here");
    }

    private static async Task<(JsonNode Job, string Tag)> WaitingAsync(Session session, string? tag = null)
    {
        tag ??= "t" + Session.Unique();
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new JsonArray(tag);
        return (await Jobs.NewAsync(session, request), tag);
    }

    private static Call PullOf(Session session, string tag, string method = "GET") =>
        new(method, session.At($"manifests/{tag}")) { Wait = TimeSpan.FromSeconds(60) };
}
