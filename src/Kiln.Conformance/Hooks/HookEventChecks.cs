using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Conformance.Wire;
using static Kiln.Conformance.Hooks.HookDesk;

namespace Kiln.Conformance.Hooks;

/// <summary>What hooks are told.</summary>
internal static class HookEventChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("hooks.event", "a job that waits is told of", "H-6", EventAsync),
        new("hooks.event-hidden", "without arguments and secrets", "H-6", HiddenAsync),
        new("hooks.event-claim", "with an address to take it at", "H-6", ClaimAsync),
        new("hooks.filter", "of the platforms that were asked for only", "H-1", FilterAsync),
        new("hooks.states", "all that becomes of a job is told to who wants it", "H-1 H-6", StatesAsync),
        new("hooks.signature", "events are signed", "H-7", SignatureAsync),
        new("hooks.retry", "what was not heard is told again, under the same id", "H-8", RetryAsync),
        new("hooks.redirect", "who answers from elsewhere is not followed there", "H-3", RedirectAsync),
        new("hooks.gone", "who says 410 is told nothing more", "H-8", GoneAsync),
    ];

    private static async Task EventAsync(Session session)
    {
        using var listener = Listen(session);
        var (job, told) = await QueuedAsync(session, listener);
        if (
            told
                .Heard.Headers.GetValueOrDefault("Content-Type")
                ?.StartsWith("application/cloudevents+json", StringComparison.Ordinal)
            is not true
        )
        {
            throw new CheckFailedException(
                $"the event is {told.Heard.Headers.GetValueOrDefault("Content-Type")}, not application/cloudevents+json"
            );
        }

        told.Json.MustHave("specversion", "1.0");
        told.Json.MustHave("subject", job.Text("id"));
        told.Json.Text("id");
        if (!told.Json.Text("source").EndsWith($"/v2/{session.Repository}", StringComparison.Ordinal))
        {
            throw new CheckFailedException($"'source' is {told.Json.Text("source")}, not the repository's address");
        }

        var data = told.Json.Member("data");
        data.Text("job");
        data.MustHave("state", "queued");
        data.Number("revision");
        data.Member("recipe").MustHave("digest", job.Member("recipe").Text("digest"));
        data.First("tasks").MustHave("platform", Jobs.Task(job).Text("platform"));
        data.First("tasks").MustHave("id", "t1");
    }

    private static async Task HiddenAsync(Session session)
    {
        using var listener = Listen(session);
        await AddAsync(session, listener, []);
        var value = Session.Unique();
        var request = await Jobs.RequestAsync(session);
        request["args"] = new JsonObject { ["PASSWORD"] = value };
        await Jobs.NewAsync(session, request);
        var told = await HeardAsync(session, listener, Queued);
        if (Encoding.UTF8.GetString(told.Heard.Body).Contains(value, StringComparison.Ordinal))
        {
            throw new CheckFailedException("the event has an argument of the job");
        }
    }

    private static async Task ClaimAsync(Session session)
    {
        var node = await session.NodeAsync();
        using var listener = Listen(session);
        var (job, told) = await QueuedAsync(session, listener);
        var address = new Uri(told.Json.Member("data").Text("claim"));
        var answer = await session.SendAsync(new Call("POST", address.PathAndQuery).WithJson(node.Offer()));
        answer.Must(201);
        (await Jobs.NowAsync(session, job)).MustHave("state", "running");
    }

    private static async Task FilterAsync(Session session)
    {
        var node = await session.NodeAsync();
        using var listener = Listen(session);
        await AddAsync(
            session,
            listener,
            new JsonObject { ["filter"] = new JsonObject { ["platforms"] = new JsonArray(node.OtherPlatform) } }
        );
        var other = await Jobs.NewAsync(session);
        var request = await Jobs.RequestAsync(session);
        request["targets"] = Json.ArrayOf(new JsonObject { ["platform"] = node.OtherPlatform });
        await Jobs.NewAsync(session, request);
        var told = await HeardAsync(session, listener, Queued);
        // The one that was queued earlier would have been told of earlier, or beside it.
        if (told.Json.Text("subject") == other.Text("id"))
        {
            throw new CheckFailedException($"the filter was for {node.OtherPlatform}, and job {other.Text("id")} came");
        }
    }

    private static async Task StatesAsync(Session session)
    {
        var node = await session.NodeAsync();
        using var listener = Listen(session);
        string[] events = ["job.queued", "job.running", "job.succeeded", "job.failed", "job.canceled"];
        await AddAsync(
            session,
            listener,
            new JsonObject { ["events"] = new JsonArray([.. events.Select(e => (JsonNode)e)]) }
        );
        await (await node.ClaimAsync(await Jobs.NewAsync(session))).SucceedAsync();
        await (await node.ClaimAsync(await Jobs.NewAsync(session))).FailAsync();
        var canceled = await Jobs.NewAsync(session);
        (await session.DeleteAsync(Jobs.At(session, canceled))).Needed("a canceled job");
        foreach (var name in events)
        {
            await HeardAsync(session, listener, $"{Prefix}{name}.v1");
        }
    }

    private static async Task SignatureAsync(Session session)
    {
        using var listener = Listen(session);
        var (_, told) = await QueuedAsync(session, listener);
        var headers = told.Heard.Headers;
        foreach (var name in new[] { "webhook-id", "webhook-timestamp", "webhook-signature" })
        {
            if (headers.GetValueOrDefault(name) is not { Length: > 0 })
            {
                throw new CheckFailedException($"the event has no {name}");
            }
        }

        if (headers["webhook-id"] != told.Json.Text("id"))
        {
            throw new CheckFailedException("webhook-id is not the event's id");
        }

        if (!long.TryParse(headers["webhook-timestamp"], NumberStyles.None, CultureInfo.InvariantCulture, out _))
        {
            throw new CheckFailedException("webhook-timestamp is no number of seconds");
        }

        byte[] text =
        [
            .. Encoding.UTF8.GetBytes($"{headers["webhook-id"]}.{headers["webhook-timestamp"]}."),
            .. told.Heard.Body,
        ];
        var expected = "v1," + Convert.ToBase64String(HMACSHA256.HashData(Key, text));
        if (!headers["webhook-signature"].Split(' ').Contains(expected, StringComparer.Ordinal))
        {
            throw new CheckFailedException("webhook-signature is not that of the body by the hook's secret");
        }
    }

    private static async Task RetryAsync(Session session)
    {
        using var listener = Listen(session);
        listener.Answer = 503;
        var (_, first) = await QueuedAsync(session, listener);
        listener.Answer = 204;
        var id = first.Json.Text("id");
        await listener.NextAsync(
            session,
            heard =>
                heard.IsEvent
                && heard.Answered == 204
                && Encoding.UTF8.GetString(heard.Body).Contains(id, StringComparison.Ordinal),
            "a second try of an event that was answered with 503"
        );
    }

    private static async Task RedirectAsync(Session session)
    {
        using var listener = Listen(session);
        listener.Answer = 307;
        await QueuedAsync(session, listener);
        listener.Answer = 204;
        // It is tried again; whoever followed would have been elsewhere by now.
        var again = await listener.NextAsync(
            session,
            heard => heard.IsEvent && heard.Answered == 204,
            "a second try of an event that was answered with a redirect"
        );
        if (again.Elsewhere || listener.All.Any(heard => heard.Elsewhere))
        {
            throw new CheckFailedException("the registry followed a redirect");
        }
    }

    private static async Task GoneAsync(Session session)
    {
        using var listener = Listen(session);
        listener.Answer = 410;
        var id = (await AddAsync(session, listener, [])).Json().Text("id");
        await Jobs.NewAsync(session);
        await HeardAsync(session, listener, Queued);
        await session.UntilAsync(
            async () =>
                (await session.GetAsync(session.At($"_build/v1/hooks/{id}"))).Needed("the hook").Json().Flag("active")
                    ? null
                    : "yes",
            "the end of a hook that answered 410"
        );
    }
}
