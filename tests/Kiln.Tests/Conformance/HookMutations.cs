using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Hooks and what they are told, broken once each.</summary>
internal static class HookMutations
{
    private const string Hooks = "/_build/v1/hooks$";
    private const string Hook = "/_build/v1/hooks/[^/]+$";
    private const string Event = "^/hook/";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new("registering a hook gets 200", "hooks.create", "POST", Hooks, e => Status(e, e.Status == 201, 200)),
        new(
            "a hook is for nothing",
            "hooks.create",
            "POST",
            Hooks,
            e => EditIf(e, e.Status == 201, json => json["events"] = new JsonArray())
        ),
        new(
            "a secret that was made is not said",
            "hooks.secret-made",
            "POST",
            Hooks,
            e => EditIf(e, e.Status == 201, json => json.AsObject().Remove("secret"))
        ),
        new(
            "secrets are said again",
            "hooks.secret-made hooks.secret-given",
            "GET",
            Hook,
            e => e.Edit(json => json["secret"] = "whsec_")
        ),
        new(
            "a secret that was given is said",
            "hooks.secret-given",
            "POST",
            Hooks,
            e =>
                EditIf(
                    e,
                    e.Status == 201 && Asks(e, "whsec_"),
                    json => json["secret"] = BreakingProxy.Parse(e.RequestBody)!["secret"]!.ToString()
                )
        ),
        new(
            "any address is taken",
            "hooks.address",
            "POST",
            Hooks,
            e => AnswerIf(e, e.Status == 400 && Asks(e, "169.254"), 201, "{}")
        ),
        new(
            "an address in another notation is taken",
            "hooks.address",
            "POST",
            Hooks,
            e => AnswerIf(e, e.Status == 400 && Asks(e, "0x0a"), 201, "{}")
        ),
        new(
            "an address with a login is taken",
            "hooks.url",
            "POST",
            Hooks,
            e => AnswerIf(e, e.Status == 400 && Asks(e, "a:b@"), 201, "{}")
        ),
        new(
            "the receiver is asked without a name",
            "hooks.consent",
            "OPTIONS",
            Event,
            e => e.RequestHeaders.Remove("WebHook-Request-Origin")
        )
        {
            OnRequest = true,
        },
        new(
            "the receiver need not agree",
            "hooks.no-consent",
            "OPTIONS",
            Event,
            e => e.Headers["WebHook-Allowed-Origin"] = "*"
        ),
        new("hooks are not listed", "hooks.list", "GET", Hooks, e => e.Edit(json => json["hooks"] = new JsonArray())),
        new("deleting a hook gets 200", "hooks.delete", "DELETE", Hook, e => AnswerIf(e, e.Status == 204, 200)),
        new(
            "a deleted hook is there",
            "hooks.delete",
            "DELETE",
            Hook,
            e => Swallow(e, !e.Path.Contains("none", StringComparison.Ordinal), 204)
        )
        {
            OnRequest = true,
        },
        new(
            "a hook that is not there is another error",
            "hooks.unknown",
            "",
            "/hooks/none",
            e => AnswerIf(e, true, 404, Error("NAME_UNKNOWN"))
        ),
        new("a ping gets 200", "hooks.ping", "POST", "/ping$", e => Status(e, e.Status == 202, 200)),
        new(
            "an event is no CloudEvent",
            "hooks.event",
            "POST",
            Event,
            e => e.RequestHeaders["Content-Type"] = "application/json"
        )
        {
            OnRequest = true,
        },
        new(
            "an event is about nothing",
            "hooks.event",
            "POST",
            Event,
            e => e.EditEvent(json => json["subject"] = "none")
        )
        {
            OnRequest = true,
        },
        new(
            "an event does not say which recipe",
            "hooks.event",
            "POST",
            Event,
            e => e.EditEvent(json => json["data"]!.AsObject().Remove("recipe"))
        )
        {
            OnRequest = true,
        },
        new(
            "an event has the job's arguments",
            "hooks.event-hidden",
            "POST",
            "(" + Event + "|/_build/v1/jobs$)",
            Telling()
        )
        {
            OnRequest = true,
        },
        new(
            "an event has no address to claim at",
            "hooks.event-claim",
            "POST",
            Event,
            e => e.EditEvent(json => json["data"]!.AsObject().Remove("claim"))
        )
        {
            OnRequest = true,
        },
        new(
            "filters are not heard",
            "hooks.filter",
            "POST",
            Hooks,
            e => e.EditRequest(json => json.AsObject().Remove("filter"))
        )
        {
            OnRequest = true,
        },
        new(
            "who fails is not told of",
            "hooks.states",
            "POST",
            Event,
            e =>
                e.EditEvent(json =>
                {
                    if (json["type"]!.ToString().Contains("failed", StringComparison.Ordinal))
                    {
                        json["type"] = "org.supercontainers.build.job.running.v1";
                    }
                })
        )
        {
            OnRequest = true,
            Waits = true,
        },
        new(
            "events are signed with another key",
            "hooks.signature",
            "POST",
            Event,
            e => e.RequestHeaders["webhook-signature"] = "v1,AAAA"
        )
        {
            OnRequest = true,
        },
        new(
            "events have another id than their signature's",
            "hooks.signature",
            "POST",
            Event,
            e => e.RequestHeaders["webhook-id"] = "other"
        )
        {
            OnRequest = true,
        },
        new("what was not heard is told under another id", "hooks.retry", "POST", Event, Renamed())
        {
            OnRequest = true,
            Waits = true,
        },
        new(
            "who says 410 is told more",
            "hooks.gone",
            "GET",
            Hook,
            e => EditIf(e, e.Status == 200, json => json["active"] = true)
        )
        {
            Waits = true,
        },
        new("redirects are followed", "hooks.redirect", "POST", Event, Followed()) { OnRequest = true },
    ];

    private static Action<Exchange> Telling()
    {
        var last = "";
        return e =>
        {
            if (e.IsEvent)
            {
                e.EditEvent(json => json["data"]!["asked"] = last);
            }
            else
            {
                last = e.RequestText;
            }
        };
    }

    /// <summary>Each time that an event comes it has another id.</summary>
    private static Action<Exchange> Renamed() => e => e.EditEvent(json => json["id"] = Guid.NewGuid().ToString());

    /// <summary>The second try goes to where the answer to the first one led.</summary>
    private static Action<Exchange> Followed()
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        return e =>
        {
            if (e.IsEvent && !seen.Add(e.Path))
            {
                e.Path += Convert.ToHexString("/elsewhere"u8);
            }
        };
    }
}
