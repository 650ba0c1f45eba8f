using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Builds that a push starts, and pulls that wait for one, broken once each.</summary>
internal static class TriggerMutations
{
    private const string Jobs = "/_build/v1/jobs$";
    private const string Manifest = "/manifests/";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new(
            "a push of a recipe gets 202",
            "trigger.push trigger.refused",
            "PUT",
            Manifest,
            e => Status(e, e.Status == 201, 202)
        ),
        new(
            "a push starts nothing",
            "trigger.push trigger.link trigger.warning",
            "GET PUT",
            "(/manifests/[^/]+|/_build/v1/jobs)$",
            e => Nothing(e)
        ),
        new("a push that starts a build says so to nobody", "trigger.link", "PUT", Manifest, e => Without(e, "Link")),
        new(
            "the link is of no known type",
            "trigger.link",
            "PUT",
            Manifest,
            e => Header(e, "Link", e.Headers.GetValueOrDefault("Link")?.Split("; type=")[0] ?? "")
        ),
        new("people are not told", "trigger.warning trigger.refused", "PUT", Manifest, e => Without(e, "Warning")),
        new(
            "the job is said to have been asked for",
            "trigger.push",
            "GET",
            Jobs,
            e => e.Edit(json => json["jobs"]![0]!["trigger"] = "request")
        ),
        new(
            "the job is to move the recipe's tag",
            "trigger.tag",
            "GET",
            Jobs,
            e => e.Edit(json => json["jobs"]![0]!["tags"] = new JsonArray("1.0.recipe"))
        ),
        new("what does not want to be built is", "trigger.none", "PUT", Manifest, e => Link(e, Asks(e, "\"none\""))),
        new(
            "anything that is pushed is built",
            "trigger.no-recipe",
            "PUT",
            Manifest,
            e => Link(e, Asks(e, "example.conformance") && Asks(e, "\"push\""))
        ),
        new(
            "a build that cannot be started fails the push",
            "trigger.refused",
            "PUT",
            Manifest,
            e => AnswerIf(e, Asks(e, "plan9"), 422, Error("BUILD_PLATFORM_UNSUPPORTED"))
        ),
    ];

    private static void Nothing(Exchange e)
    {
        Without(e, "Link");
        Without(e, "Warning", !Asks(e, "plan9"));
        if (e.Path.EndsWith("/jobs", StringComparison.Ordinal))
        {
            e.Edit(json => json["jobs"] = new JsonArray());
        }
    }

    private static void Link(Exchange e, bool when)
    {
        if (when)
        {
            e.Headers["Link"] = "</v2/x/_build/v1/jobs/y>; rel=\"status\"";
        }
    }
}
