using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>What is attached to products, broken once each.</summary>
internal static class ProvenanceMutations
{
    private const string Jobs = "/_build/v1/jobs$";
    private const string Job = "/_build/v1/jobs/[^/]+$";
    private const string Manifest = "/manifests/";
    private const string Blob = "/blobs/";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new(
            "provenance is about nothing",
            "request.provenance",
            "GET",
            Manifest,
            e => EditIf(e, IsStatement(e), json => json["subject"]!["digest"] = "sha256:0")
        ),
        new(
            "provenance does not say of which kind it is",
            "request.provenance",
            "GET",
            Manifest,
            e => EditIf(e, IsStatement(e), json => json["layers"]![0]!.AsObject().Remove("annotations"))
        ),
        new(
            "provenance is not listed",
            "request.provenance-listed",
            "GET",
            "/referrers/",
            e => e.Edit(json => json["manifests"] = new JsonArray())
        ),
        new("the log that is kept is another", "request.provenance-log", "GET", Blob, e => Replace(e, "two\n", "")),
        new(
            "a result does not name its provenance",
            "request.provenance-result",
            "GET",
            Job,
            e => e.Edit(json => json["result"]?["outputs"]?[0]?.AsObject().Remove("provenance"))
        ),
        new(
            "a result does not name its log",
            "request.provenance-result",
            "GET",
            Job,
            e => e.Edit(json => json["result"]?["outputs"]?[0]?.AsObject().Remove("log"))
        ),
        new(
            "each job has a provenance",
            "request.provenance-reused",
            "POST",
            Jobs,
            e =>
                EditIf(
                    e,
                    e.Status == 200,
                    json => json["result"]!["outputs"]![0]!["provenance"]![0]!["digest"] = "sha256:0"
                )
        ),
        new(
            "a statement is about another product",
            "request.provenance-statement",
            "GET",
            Blob,
            e => EditIf(e, IsPredicate(e), json => json["subject"]![0]!["digest"]!["sha256"] = "0")
        ),
        new(
            "a statement does not say what was asked for",
            "request.provenance-statement",
            "GET",
            Blob,
            e =>
                EditIf(
                    e,
                    IsPredicate(e),
                    json => json["predicate"]!["buildDefinition"]!.AsObject().Remove("externalParameters")
                )
        ),
        new(
            "a statement does not name the recipe",
            "request.provenance-statement",
            "GET",
            Blob,
            e =>
                EditIf(
                    e,
                    IsPredicate(e),
                    json => json["predicate"]!["buildDefinition"]!["resolvedDependencies"] = new JsonArray()
                )
        ),
        new(
            "a builder is who it says it is",
            "request.provenance-builder",
            "GET",
            Blob,
            e =>
                EditIf(
                    e,
                    IsPredicate(e),
                    json =>
                        json["predicate"]!["runDetails"]!["builder"]!["id"] =
                            "https://registry.example.org/v2/_build/v1/nodes/conformance"
                )
        ),
        new("secrets are in the log that is kept", "request.provenance-secret", "", "(/secrets$|/blobs/)", Leaking()),
    ];

    private static bool IsStatement(Exchange e) =>
        e.Text.Contains("in-toto.io/predicate-type", StringComparison.Ordinal);

    private static bool IsPredicate(Exchange e) => e.Text.Contains("predicateType", StringComparison.Ordinal);

    private static Action<Exchange> Leaking()
    {
        var last = "***";
        return e =>
        {
            if (e.Path.EndsWith("/secrets", StringComparison.Ordinal))
            {
                last = e.RequestText;
            }
            else
            {
                Replace(e, "***", last);
            }
        };
    }
}
