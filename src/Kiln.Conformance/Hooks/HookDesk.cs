using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Hooks;

/// <summary>Registering hooks and hearing of jobs, where that is not what the check is about.</summary>
internal static class HookDesk
{
    public const string Prefix = "org.supercontainers.build.";
    public const string Queued = Prefix + "job.queued.v1";
    public static readonly byte[] Key = RandomNumberGenerator.GetBytes(32);

    public static string Secret => "whsec_" + Convert.ToBase64String(Key);

    public static HookListener Listen(Session session) => HookListener.Start(session.Options.HookHost);

    public static async Task<(JsonNode Job, Told Told)> QueuedAsync(Session session, HookListener listener)
    {
        await AddAsync(session, listener, []);
        var job = await Jobs.NewAsync(session);
        return (job, await HeardAsync(session, listener, Prefix + "job.queued.v1"));
    }

    public static async Task<Told> HeardAsync(Session session, HookListener listener, string type)
    {
        static JsonNode Read(Heard heard) =>
            JsonNode.Parse(heard.Body) ?? throw new CheckFailedException("an event is null");
        var heard = await listener.NextAsync(
            session,
            heard => heard.IsEvent && Read(heard).MaybeText("type") == type,
            $"an event of type {type}"
        );
        return new Told(heard, Read(heard));
    }

    /// <summary>Registers a hook with a secret that is known, where that is not what the check is about.</summary>
    public static async Task<Answer> AddAsync(Session session, HookListener listener, JsonObject members)
    {
        members["url"] = listener.Url;
        members["secret"] = Secret;
        return Registered(await PostAsync(session, members)).Needed("a hook");
    }

    public static async Task<Answer> PostAsync(Session session, JsonObject hook)
    {
        var answer = await session.SendAsync(
            new Call("POST", session.At("_build/v1/hooks")).WithJson(hook, Types.Hook)
        );
        if (answer.IsSuccess && answer.Header("Location") is not null)
        {
            var address = answer.Location.AbsoluteUri;
            session.Afterwards.Add(() => session.DeleteAsync(address));
        }

        return answer;
    }

    /// <summary>A registry that does not reach this machine refuses its address, as it has to.</summary>
    public static Answer Registered(Answer answer) =>
        answer.Status is 400 or 401 or 403
            ? throw new SkippedException(
                $"a hook of this machine is needed first: answered {answer.Status}. Its operator has to allow the address"
            )
            : answer;
}

/// <summary>An event that came.</summary>
internal sealed record Told(Heard Heard, JsonNode Json);
