using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Recipe artifacts, broken once each.</summary>
internal static class RecipeMutations
{
    private const string Jobs = "/_build/v1/jobs$";
    private const string Leases = "/_build/v1/leases$";
    private const string Both = "(/manifests/[^/]+|/_build/v1/jobs)$";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        new(
            "recipes are not named by tags",
            "request.artifact request.tag-of-recipe",
            "POST",
            Jobs,
            e => AnswerIf(e, Asks(e, "{\"tag\":"), 404, Error("BUILD_RECIPE_UNKNOWN"))
        ),
        new(
            "a job names another recipe",
            "request.artifact",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202, json => json["recipe"]!["digest"] = "sha256:0")
        ),
        new(
            "a config's type makes no recipe",
            "request.artifact-config",
            "PUT POST",
            Both,
            Refusing(text => !text.Contains("artifactType", StringComparison.Ordinal))
        ),
        new(
            "any layers are taken",
            "request.artifact-layers",
            "PUT POST",
            Both,
            Taking(text => text.Contains("example.unknown", StringComparison.Ordinal))
        ),
        new(
            "an artifact without a recipe is taken",
            "request.artifact-layers",
            "PUT POST",
            Both,
            Taking(text => !text.Contains("dockerfile", StringComparison.Ordinal))
        ),
        new(
            "titles say nothing",
            "request.artifact-roles",
            "PUT POST",
            Both,
            Refusing(text => text.Contains("my.dockerfile", StringComparison.Ordinal))
        ),
        new(
            "roles say nothing",
            "request.artifact-roles",
            "PUT POST",
            Both,
            Refusing(text => text.Contains("build.role\":\"recipe", StringComparison.Ordinal))
        ),
        new(
            "any role is taken",
            "request.artifact-roles",
            "PUT POST",
            Both,
            Taking(text => text.Contains("build.role\":\"none", StringComparison.Ordinal))
        ),
        new(
            "contexts come in another order",
            "request.contexts",
            "POST",
            Leases,
            e => EditIf(e, e.Status == 201, json => Reverse(json["task"]!["contexts"]!.AsArray()))
        ),
        new(
            "nothing is stripped",
            "request.contexts",
            "POST",
            Leases,
            e =>
                EditIf(
                    e,
                    e.Status == 201,
                    json => json["task"]!["contexts"]!.AsArray().ToList().ForEach(c => c!["strip"] = 0)
                )
        ),
        new(
            "a context leads anywhere",
            "request.context-escape",
            "PUT POST",
            Both,
            Taking(text =>
                text.Contains("context.v1.tar", StringComparison.Ordinal)
                && text.Contains("dockerfile", StringComparison.Ordinal)
            )
        ),
        new(
            "the config's options are lost",
            "request.defaults-config request.defaults-order",
            "POST",
            Leases,
            e => EditIf(e, Args(e, "A", "config"), json => json["task"]!["args"]!.AsObject().Remove("A"))
        ),
        new(
            "annotations' options are lost",
            "request.defaults-annotations",
            "POST",
            Leases,
            e => EditIf(e, Args(e, "A", "annotation"), json => json["task"]!["args"]!.AsObject().Remove("A"))
        ),
        new(
            "an annotation's tags are lost",
            "request.defaults-annotations",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202 && !Asks(e, "targets"), json => json["tags"] = new JsonArray())
        ),
        new(
            "annotations count before the request",
            "request.defaults-order",
            "POST",
            Leases,
            e => EditIf(e, Args(e, "C", "request"), json => json["task"]!["args"]!["C"] = "annotation")
        ),
        new(
            "the product takes its recipe's tag, with .recipe",
            "request.tag-of-recipe",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202 && Asks(e, ".recipe"), json => json["tags"] = new JsonArray("t.recipe"))
        ),
        new(
            "the product may take its recipe's tag",
            "request.tag-taken",
            "POST",
            Jobs,
            e => AnswerIf(e, e.Status == 400, 202, "{}")
        ),
    ];

    private static bool Args(Exchange e, string name, string value) =>
        e.Status == 201 && BreakingProxy.Parse(e.Body)?["task"]?["args"]?[name]?.ToString() == value;

    /// <summary>Artifacts of a kind are no recipes to this registry.</summary>
    private static Action<Exchange> Refusing(Func<string, bool> kind) =>
        OfKind(kind, e => AnswerIf(e, e.Status == 202, 422, Error("BUILD_RECIPE_INVALID")));

    /// <summary>Artifacts of a kind are said to become jobs, although they were refused.</summary>
    private static Action<Exchange> Taking(Func<string, bool> kind) =>
        OfKind(kind, e => AnswerIf(e, e.Status == 422, 202, "{}"));

    // A request names an artifact by its digest, by which that was pushed.
    private static Action<Exchange> OfKind(Func<string, bool> kind, Action<Exchange> onRequest)
    {
        var digests = new List<string>();
        return e =>
        {
            if (e.Method == "POST")
            {
                if (digests.Exists(digest => Asks(e, digest)))
                {
                    onRequest(e);
                }
            }
            else if (kind(e.RequestText))
            {
                digests.Add(e.Path[(e.Path.LastIndexOf('/') + 1)..]);
            }
        };
    }
}
