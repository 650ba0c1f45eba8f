using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.Conformance.Node;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Asking for builds, where that is not what the check is about.</summary>
internal static class Jobs
{
    private const int BuildSeconds = 45;

    /// <summary>A recipe that nobody has asked for yet.</summary>
    public static string Recipe() => $"FROM scratch\nLABEL conformance={Session.Unique()}\n";

    /// <summary>A platform that something is built for here: that of the played node, else the registry's first.</summary>
    /// <exception cref="SkippedException">There is none.</exception>
    public static async Task<string> PlatformAsync(Session session)
    {
        try
        {
            return (await session.NodeAsync()).Platform;
        }
        catch (SkippedException)
        {
            return (await session.InfoAsync()).Texts("platforms") is [var first, ..]
                ? first
                : throw new SkippedException("nothing is built here, and no build node may be played");
        }
    }

    /// <summary>A request for the build of an inline recipe.</summary>
    public static async Task<JsonObject> RequestAsync(Session session, string? recipe = null) =>
        new()
        {
            ["recipe"] = Inline(recipe ?? Recipe()),
            ["targets"] = Json.ArrayOf(new JsonObject { ["platform"] = await PlatformAsync(session) }),
        };

    public static JsonObject Inline(string recipe) =>
        new() { ["mediaType"] = Types.Dockerfile, ["data"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(recipe)) };

    /// <summary>Sends a request; a job that comes of it is canceled when the check is over.</summary>
    public static async Task<Answer> PostAsync(
        Session session,
        JsonObject request,
        Func<Call, Call>? change = null,
        string? repository = null
    )
    {
        var call = new Call("POST", $"/v2/{repository ?? session.Repository}/_build/v1/jobs").WithJson(
            request,
            Types.Request
        );
        var answer = await session.SendAsync(change?.Invoke(call) ?? call);
        CancelLater(session, answer);
        return answer;
    }

    /// <summary>A job that waits, or is done.</summary>
    public static async Task<JsonNode> NewAsync(Session session, JsonObject? request = null, string? repository = null)
    {
        var answer = await PostAsync(session, request ?? await RequestAsync(session), repository: repository);
        return NeededJob(answer);
    }

    /// <summary>The job in an answer, where that is not what the check is about.</summary>
    public static JsonNode NeededJob(Answer answer)
    {
        answer.Needed("a job");
        try
        {
            var job = answer.Json();
            job.Text("id");
            job.Text("href");
            return job;
        }
        catch (CheckFailedException e)
        {
            throw new SkippedException($"a job is needed first: {e.Message}");
        }
    }

    public static string At(Session session, JsonNode job, string rest = "") =>
        session.At($"_build/v1/jobs/{job.Text("id")}{rest}");

    /// <summary>The job as it is now.</summary>
    public static async Task<JsonNode> NowAsync(Session session, JsonNode job) =>
        (await session.GetAsync(At(session, job))).Needed("the job").Json();

    /// <summary>Waits for a job's end, where that is not what the check is about.</summary>
    public static async Task<JsonNode> EndAsync(Session session, JsonNode job) =>
        await session.UntilAsync(
            async () =>
            {
                var now = (await session.SendAsync(new Call("GET", At(session, job)).Waiting(5)))
                    .Needed("the job")
                    .Json();
                return now.Flag("done") ? now : null;
            },
            $"the end of job {job.Text("id")}"
        );

    /// <summary>Builds a job: by the played node, or by waiting for the registry's own.</summary>
    public static async Task<JsonNode> BuildAsync(Session session, JsonNode job)
    {
        PlayedNode node;
        try
        {
            node = await session.NodeAsync();
        }
        catch (SkippedException)
        {
            return await EndAsync(session, job);
        }

        await (await node.ClaimAsync(job)).SucceedAsync();
        return await NowAsync(session, job);
    }

    public static void MustBe(JsonNode job, string state)
    {
        job.MustHave("state", state);
        if (job.Flag("done") != state is "succeeded" or "failed" or "canceled")
        {
            throw new CheckFailedException($"'done' is {job.Flag("done")} in the state {state}");
        }
    }

    public static JsonNode Task(JsonNode job, int at = 0) =>
        job.Items("tasks") is var tasks && at < tasks.Count
            ? tasks[at] ?? throw new CheckFailedException("a task is null")
            : throw new CheckFailedException($"the job has no task {at + 1}");

    public static void CancelLater(Session session, Answer answer)
    {
        if (answer.IsSuccess && answer.Header("Location") is not null)
        {
            var address = answer.Location.AbsoluteUri;
            session.Afterwards.Add(() => session.DeleteAsync(address));
        }
    }
}
