using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>What a registry says of itself, broken once each.</summary>
internal static class DiscoverMutations
{
    private const string Discover = "^/v2/_oci/ext/discover$";
    private const string Info = "^/v2/_build/v1/info$";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new("_build is not listed", "discover.extensions", "GET", Discover, e => Replace(e, "_build", "_other")),
        new(
            "there is no discovery",
            "discover.extensions discover.repository discover.head",
            "GET",
            Discover,
            e => e.Answer(404)
        ),
        new(
            "_build has no endpoints",
            "discover.extensions",
            "GET",
            Discover,
            e => e.Edit(json => json["extensions"]!.AsArray().ToList().ForEach(x => x!["endpoints"] = new JsonArray()))
        ),
        new(
            "_build is not listed in a repository",
            "discover.repository",
            "GET",
            "[a-z]/_oci/ext/discover$",
            e => Replace(e, "_build", "_other")
        ),
        new(
            "info has another version",
            "discover.info",
            "GET",
            Info,
            e => e.Edit(json => json["specVersion"] = "2.0.0")
        ),
        new("info is another type", "discover.info", "GET", Info, e => Header(e, "Content-Type", "application/json")),
        new(
            "info of a repository is not there",
            "discover.info-repository",
            "GET",
            "[a-z]/_build/v1/info$",
            e => e.Answer(404)
        ),
        new(
            "info has no trigger",
            "discover.info-members discover.info-repository",
            "GET",
            "/info$",
            e => e.Edit(json => json.AsObject().Remove("trigger"))
        ),
        new(
            "recipes have no media types",
            "discover.info-members",
            "GET",
            Info,
            e => e.Edit(json => json["recipes"]![0]!.AsObject().Remove("mediaTypes"))
        ),
        new(
            "info has one limit less",
            "discover.info-limits",
            "GET",
            Info,
            e => e.Edit(json => json["limits"]!.AsObject().Remove("maxLogBytes"))
        ),
        new(
            "a limit is a string",
            "discover.info-limits",
            "GET",
            Info,
            e => e.Edit(json => json["limits"]!["maxJobSeconds"] = "60")
        ),
        new(
            "info says nothing of leases",
            "discover.info-lease",
            "GET",
            Info,
            e => e.Edit(json => json.AsObject().Remove("lease"))
        ),
        new(
            "info does not say how long pulls are held",
            "discover.info-pull-build",
            "GET",
            Info,
            e => e.Edit(json => json["pullBuild"]!.AsObject().Remove("holdSeconds"))
        ),
        new(
            "nothing is built, and nobody says why",
            "discover.unavailable",
            "GET",
            Info,
            e => e.Edit(json => json["platforms"] = new JsonArray())
        ),
        new("HEAD is not there", "discover.head", "HEAD", Info, e => Status(e, true, 405)),
        new("Accept is not heard", "discover.accept", "GET", Info, e => e.RequestHeaders.Remove("Accept"))
        {
            OnRequest = true,
        },
        new(
            "a member without a value is null",
            "discover.no-nulls",
            "GET",
            Info,
            e => e.Edit(json => json["unavailable"] = null)
        ),
        new("an error is text", "discover.errors", "GET", "/_build/v1/none", e => e.Answer(404, "not here")),
        new(
            "an error's code is in lower case",
            "discover.errors",
            "GET",
            "/_build/v1/none",
            e => e.Answer(404, """{"errors":[{"code":"not found"}]}""")
        ),
    ];
}
