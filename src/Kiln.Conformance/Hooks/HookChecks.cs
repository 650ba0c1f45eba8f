using System.Text.Json.Nodes;
using Kiln.Conformance.Request;
using Kiln.Conformance.Wire;
using static Kiln.Conformance.Hooks.HookDesk;

namespace Kiln.Conformance.Hooks;

/// <summary>Hooks: who is told of a repository's jobs. The run listens on this machine, where the registry may reach it.</summary>
internal static class HookChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("hooks.create", "a hook is registered, with what holds where nothing was said", "H-1", CreateAsync),
        new("hooks.secret-made", "a secret that the registry made is said once", "H-2", SecretMadeAsync),
        new("hooks.secret-given", "one that was given, never", "H-2", SecretGivenAsync),
        new("hooks.address", "an address inside of the network is refused", "H-3", AddressAsync),
        new("hooks.url", "an address of another kind is refused", "H-1 H-3", UrlAsync),
        new("hooks.consent", "the receiver is asked first", "H-4", ConsentAsync),
        new("hooks.no-consent", "and has to agree", "H-4", NoConsentAsync),
        new("hooks.list", "hooks are listed", "H-5", ListAsync),
        new("hooks.delete", "a hook that was deleted is gone", "H-5", DeleteAsync),
        new("hooks.unknown", "a hook that is not there gets 404", "H-5", UnknownAsync),
        new("hooks.ping", "a hook is tried", "H-5", PingAsync),
    ];

    private static async Task CreateAsync(Session session)
    {
        using var listener = Listen(session);
        var answer = await PostAsync(session, new JsonObject { ["url"] = listener.Url });
        var hook = Registered(answer).Must(201).MustBe(Types.Hook).Json();
        answer.MustHave("Location");
        Ids.MustBe(hook.Text("id"));
        hook.MustHave("url", listener.Url);
        if (!hook.Texts("events").SequenceEqual(["job.queued"], StringComparer.Ordinal) || !hook.Flag("active"))
        {
            throw new CheckFailedException("the hook is not active, or not for job.queued alone");
        }

        hook.Text("created");
        hook.Text("createdBy");
    }

    private static async Task SecretMadeAsync(Session session)
    {
        using var listener = Listen(session);
        var answer = Registered(await PostAsync(session, new JsonObject { ["url"] = listener.Url }));
        var secret = answer.Needed("a hook").Json().Text("secret");
        if (
            !secret.StartsWith("whsec_", StringComparison.Ordinal)
            || Bytes(secret["whsec_".Length..]) is not (>= 24 and <= 64)
        )
        {
            throw answer.Failure("has a secret that is not whsec_ and base64 of 24 to 64 bytes");
        }

        await MustNotSayAsync(session, answer, secret);
    }

    private static async Task SecretGivenAsync(Session session)
    {
        using var listener = Listen(session);
        var answer = await AddAsync(session, listener, []);
        MustNotHave(answer, Secret);
        await MustNotSayAsync(session, answer, Secret);
    }

    private static async Task AddressAsync(Session session)
    {
        foreach (
            var url in new[]
            {
                "https://10.0.0.1/",
                "https://169.254.169.254/latest/meta-data",
                "https://[::ffff:10.0.0.1]/",
                "https://[fe80::1]/",
                "https://0x0a000001/",
            }
        )
        {
            (await PostAsync(session, new JsonObject { ["url"] = url })).MustFail(400, "BUILD_HOOK_INVALID");
        }
    }

    private static async Task UrlAsync(Session session)
    {
        foreach (
            var url in new[] { "ftp://example.org/", "/events", "https://a:b@example.org/", "https://example.org/#a" }
        )
        {
            (await PostAsync(session, new JsonObject { ["url"] = url })).MustFail(400, "BUILD_HOOK_INVALID");
        }
    }

    private static async Task ConsentAsync(Session session)
    {
        using var listener = Listen(session);
        await AddAsync(session, listener, []);
        if (listener.All is not [{ Method: "OPTIONS" } asked, ..])
        {
            throw new CheckFailedException("the receiver was not asked with OPTIONS before the hook was there");
        }

        if (asked.Headers.GetValueOrDefault("WebHook-Request-Origin") is not { Length: > 0 })
        {
            throw new CheckFailedException("the receiver was asked without WebHook-Request-Origin");
        }
    }

    private static async Task NoConsentAsync(Session session)
    {
        using var listener = Listen(session);
        // Only a registry that reaches this machine can be told no by it.
        await AddAsync(session, listener, []);
        using var other = Listen(session);
        other.Consents = false;
        (await PostAsync(session, new JsonObject { ["url"] = other.Url })).MustFail(400, "BUILD_HOOK_INVALID");
    }

    private static async Task ListAsync(Session session)
    {
        using var listener = Listen(session);
        var id = (await AddAsync(session, listener, [])).Json().Text("id");
        var list = (await session.GetAsync(session.At("_build/v1/hooks"))).Must(200).Json().Items("hooks");
        if (!list.Any(hook => hook.Text("id") == id))
        {
            throw new CheckFailedException("the list of hooks does not have the one that was registered");
        }

        (await session.GetAsync(session.At($"_build/v1/hooks/{id}"))).Must(200).Json().MustHave("url", listener.Url);
    }

    private static async Task DeleteAsync(Session session)
    {
        using var listener = Listen(session);
        var id = (await AddAsync(session, listener, [])).Json().Text("id");
        (await session.DeleteAsync(session.At($"_build/v1/hooks/{id}"))).Must(204);
        var list = (await session.GetAsync(session.At("_build/v1/hooks"))).Needed("the hooks").Json().Items("hooks");
        if (list.Any(hook => hook.Text("id") == id))
        {
            throw new CheckFailedException("the list of hooks still has the one that was deleted");
        }
    }

    private static async Task UnknownAsync(Session session)
    {
        var path = session.At($"_build/v1/hooks/none{Session.Unique()}");
        (await session.GetAsync(path)).MustFail(404, "BUILD_HOOK_UNKNOWN");
        (await session.DeleteAsync(path)).MustFail(404, "BUILD_HOOK_UNKNOWN");
        (await session.SendAsync(new Call("POST", path + "/ping") { Body = [] })).MustFail(404, "BUILD_HOOK_UNKNOWN");
    }

    private static async Task PingAsync(Session session)
    {
        using var listener = Listen(session);
        var id = (await AddAsync(session, listener, [])).Json().Text("id");
        (await session.SendAsync(new Call("POST", session.At($"_build/v1/hooks/{id}/ping")) { Body = [] })).Must(202);
        await HeardAsync(session, listener, Prefix + "ping.v1");
    }

    private static async Task MustNotSayAsync(Session session, Answer created, string secret)
    {
        var id = created.Json().Text("id");
        foreach (var path in new[] { "_build/v1/hooks", $"_build/v1/hooks/{id}" })
        {
            MustNotHave((await session.GetAsync(session.At(path))).Needed("the hook"), secret);
        }
    }

    private static void MustNotHave(Answer answer, string secret)
    {
        if (
            answer.Text.Contains(secret["whsec_".Length..], StringComparison.Ordinal)
            || answer.Text.Contains("whsec_", StringComparison.Ordinal)
        )
        {
            throw answer.Failure("says the hook's secret");
        }
    }

    private static int Bytes(string base64)
    {
        var bytes = new byte[128];
        return Convert.TryFromBase64String(base64, bytes, out var written) ? written : 0;
    }
}
