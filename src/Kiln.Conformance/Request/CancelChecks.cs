using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Canceling: section 5 of the <c>_build</c> extension.</summary>
internal static class CancelChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.cancel", "a job that waits is canceled", "C-1", CancelAsync),
        new("request.cancel-again", "canceling twice does no harm", "C-1", AgainAsync),
        new("request.cancel-shared", "a build goes on while another job wants it", "C-2", SharedAsync),
        new(
            "request.cancel-running",
            "a build that nobody wants is ended, and nothing of it published",
            "C-2",
            RunningAsync
        ),
    ];

    private static async Task CancelAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        var answer = await session.SendAsync(new Call("DELETE", Jobs.At(session, job)).Waiting(20));
        answer.Must(200, 202).MustBe(Types.Job).Json().MustHave("id", job.Text("id"));
        if ((answer.Status == 200) != answer.Json().Flag("done"))
        {
            throw answer.Failure($"answered {answer.Status} for a job whose 'done' is {answer.Json().Flag("done")}");
        }

        Jobs.MustBe(await Jobs.EndAsync(session, job), "canceled");
    }

    private static async Task AgainAsync(Session session)
    {
        var job = await Jobs.NewAsync(session);
        (await session.DeleteAsync(Jobs.At(session, job))).Needed("a canceled job");
        var end = await Jobs.EndAsync(session, job);
        var again = (await session.DeleteAsync(Jobs.At(session, job))).Must(200).Json();
        again.MustHave("state", end.Text("state"));
    }

    private static async Task SharedAsync(Session session)
    {
        var node = await session.NodeAsync();
        var request = await Jobs.RequestAsync(session);
        var first = await Jobs.NewAsync(session, request);
        var second = await Jobs.NewAsync(session, request);
        if (Jobs.Task(first).Text("execution") != Jobs.Task(second).Text("execution"))
        {
            throw new SkippedException("two jobs that share a build are needed first");
        }

        var lease = await node.ClaimAsync(first);
        (await session.DeleteAsync(Jobs.At(session, first))).Needed("a canceled job");
        if ((await lease.BeatAsync()).Needed("a sign of life").Json().Flag("canceled"))
        {
            throw new CheckFailedException("the node was asked to end a build that another job waits for");
        }

        await lease.SucceedAsync();
        Jobs.MustBe(await Jobs.EndAsync(session, second), "succeeded");
        Jobs.MustBe(await Jobs.EndAsync(session, first), "canceled");
    }

    private static async Task RunningAsync(Session session)
    {
        var node = await session.NodeAsync();
        var tag = "t" + Session.Unique();
        var request = await Jobs.RequestAsync(session);
        request["tags"] = new System.Text.Json.Nodes.JsonArray(tag);
        var job = await Jobs.NewAsync(session, request);
        var lease = await node.ClaimAsync(job);
        var image = await lease.PushImageAsync();
        (await session.DeleteAsync(Jobs.At(session, job))).Needed("a canceled job");
        await lease.ResultAsync(Node.PlayedLease.Succeeded(image));
        await lease.ResultAsync(Node.PlayedLease.Canceled());
        Jobs.MustBe(await Jobs.EndAsync(session, job), "canceled");
        (await session.GetAsync(session.At($"manifests/{tag}"))).Must(404);
        (await session.GetAsync(session.At($"manifests/{image.Digest}"))).Must(404);
    }
}
