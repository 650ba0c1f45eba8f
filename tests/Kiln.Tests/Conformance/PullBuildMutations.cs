using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Pulls that wait for a build, broken once each.</summary>
internal static class PullBuildMutations
{
    private const string Manifest = "/manifests/t";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new(
            "pulls are not held",
            "pull-build.held",
            "GET",
            Manifest,
            e => AnswerIf(e, e.Text.Contains("image.index", StringComparison.Ordinal), 404, Error("MANIFEST_UNKNOWN"))
        ),
        new("HEAD is not held", "pull-build.head", "HEAD", Manifest, e => Status(e, e.Status == 200, 404)),
        new(
            "a tag that is there is another one while it is built",
            "pull-build.there",
            "GET",
            Manifest,
            e => Shorten(e, e.Text.Contains("example.conformance", StringComparison.Ordinal))
        ),
        new(
            "when the time is over it is not there",
            "pull-build.over",
            "GET",
            Manifest,
            e => AnswerIf(e, e.Status == 429, 404, Error("MANIFEST_UNKNOWN"))
        ),
        new("nobody says when to come again", "pull-build.over", "GET", Manifest, e => Without(e, "Retry-After")),
        new(
            "nobody says where the log is",
            "pull-build.over pull-build.failed",
            "GET",
            Manifest,
            e => Without(e, "Warning")
        ),
        new(
            "nobody says which job failed",
            "pull-build.failed",
            "GET",
            Manifest,
            e => EditIf(e, e.Status == 404, json => json["errors"]![0]!.AsObject().Remove("detail"))
        ),
        new(
            "what failed is built again",
            "pull-build.failed-again",
            "GET",
            "/_build/v1/jobs$",
            e => e.Edit(json => json["jobs"]!.AsArray().Insert(0, json["jobs"]![0]!.DeepClone()))
        ),
    ];
}
