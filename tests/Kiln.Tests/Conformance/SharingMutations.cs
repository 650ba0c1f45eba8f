using System.Text.Json.Nodes;
using static Kiln.Tests.Conformance.Breaks;

namespace Kiln.Tests.Conformance;

/// <summary>Keys, sharing, secrets and products, broken once each.</summary>
internal static class SharingMutations
{
    private const string Jobs = "/_build/v1/jobs$";
    private const string Job = "/_build/v1/jobs/[^/]+$";
    private const string Log = "/_build/v1/jobs/[^/]+/logs$";
    private const string Leases = "/_build/v1/leases$";
    private const string Secrets = "/_build/v1/secrets";
    private const string Manifest = "/manifests/";

    public static IReadOnlyList<Mutation> All { get; } =
    [
        // Keys.
        new(
            "the stage is not in the key",
            "request.key",
            "POST",
            Jobs,
            e => EditRequestIf(e, Asks(e, "\"sourceDateEpoch\":5"), json => json.AsObject().Remove("target"))
        )
        {
            OnRequest = true,
        },
        new(
            "tags are in the key",
            "request.key-tags",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202 && Asks(e, "queueSeconds"), json => json["tasks"]![0]!["key"] = "sha256:0")
        ),
        new(
            "contexts are in the key by how they were packed",
            "request.key-context",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202 && Asks(e, "contexts"), json => json["tasks"]![0]!["key"] = "sha256:0")
        ),
        // Sharing.
        new("nobody shares", "request.share", "POST", Jobs, Apart()) { OnRequest = true },
        new(
            "who shares is not told",
            "request.share",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 202, json => json["tasks"]![0]!.AsObject().Remove("shared"))
        ),
        new("repositories share", "request.share-repository", "POST", "/[ab]" + Jobs, Shared()),
        new(
            "no result is an answer",
            "request.reuse",
            "POST",
            Jobs,
            e =>
                EditRequestIf(
                    e,
                    Asks(e, "tags") && !Asks(e, "cache"),
                    json => json["cache"] = new JsonObject { ["policy"] = "none" }
                )
        )
        {
            OnRequest = true,
        },
        new(
            "who is answered by a result is not told",
            "request.reuse",
            "POST",
            Jobs,
            e => EditIf(e, e.Status == 200 && Asks(e, "tags"), json => json["cached"] = false)
        ),
        new(
            "a result is never too old",
            "request.reuse-age",
            "POST",
            Jobs,
            e => EditRequestIf(e, Asks(e, "maxAgeSeconds"), json => json.AsObject().Remove("cache"))
        )
        {
            OnRequest = true,
        },
        new("what failed is an answer", "request.reuse-failed", "POST", Jobs, AnsweredAgain()),
        new(
            "who wants no cache shares",
            "request.cache-none",
            "POST",
            Jobs,
            e =>
                EditRequestIf(
                    e,
                    Asks(e, "\"none\"") && !Asks(e, "tags") && !Asks(e, "timeoutSeconds"),
                    json => json.AsObject().Remove("cache")
                )
        )
        {
            OnRequest = true,
        },
        new(
            "who wants fresh bases gets an old result",
            "request.cache-refresh",
            "POST",
            Jobs,
            e => EditRequestIf(e, Asks(e, "refresh"), json => json.AsObject().Remove("cache"))
        )
        {
            OnRequest = true,
        },
        new(
            "nobody says which result there was",
            "request.cache-refresh",
            "POST",
            Leases,
            e => EditIf(e, e.Status == 201, json => json["task"]!.AsObject().Remove("earlier"))
        ),
        new(
            "jobs with secrets share",
            "request.share-secrets",
            "POST",
            Jobs,
            e => EditIf(e, Asks(e, "secrets"), json => json["tasks"]![0]!["execution"] = "one")
        ),
        // Secrets.
        new("a secret gets 200", "request.secret", "POST", Secrets, e => Status(e, e.Status == 201, 200)),
        new(
            "nobody says until when a secret is kept",
            "request.secret",
            "POST",
            Secrets,
            e => e.Edit(json => json.AsObject().Remove("expires"))
        ),
        new("secrets can be read", "request.secret", "GET", Secrets, e => e.Answer(200, "swordfish")),
        new(
            "a secret serves twice",
            "request.secret-once request.secret-repository",
            "POST",
            Jobs,
            e => AnswerIf(e, e.Status == 404, 202, "{}")
        ),
        new(
            "a secret serves another repository",
            "request.secret-repository",
            "POST",
            "/b" + Jobs,
            e => AnswerIf(e, e.Status == 404, 202, "{}")
        ),
        new(
            "a secret does not come to the node",
            "request.secret-lease",
            "POST",
            Leases,
            e => EditIf(e, e.Status == 201, json => json["task"]!.AsObject().Remove("secrets"))
        ),
        new(
            "all secrets come to all nodes",
            "request.secret-other-lease",
            "",
            "/_build/v1/(secrets|leases)$",
            Leaking()
        ),
        new(
            "a secret's value is in the job",
            "request.secret-hidden",
            "",
            "/_build/v1/(secrets|jobs/[^/]+)$",
            Telling()
        ),
        new("secrets are not masked", "request.secret-masked", "GET", Log, e => Replace(e, "***", "0123456789ab")),
        // Products.
        new(
            "a tag points at an image",
            "request.product-index",
            "GET",
            Manifest + "t",
            e => Header(e, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
        ),
        new(
            "an index has its entries in another order",
            "request.product-index",
            "GET",
            Manifest,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("image.index", StringComparison.Ordinal),
                    json => Reverse(json["manifests"]!.AsArray())
                )
        ),
        new(
            "a product has another byte",
            "request.product-kept",
            "GET",
            Manifest,
            e =>
                Shorten(
                    e,
                    !e.Text.Contains("image.index", StringComparison.Ordinal)
                        && !e.Text.Contains("hints.v1", StringComparison.Ordinal)
                )
        ),
        new(
            "nothing is measured",
            "request.hints request.hints-owner request.hints-document",
            "GET",
            Manifest,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("flatten", StringComparison.Ordinal)
                        && e.Text.Contains("image.index", StringComparison.Ordinal),
                    json => json["manifests"]![0]!.AsObject().Remove("annotations")
                )
        ),
        new(
            "a job has no hints",
            "request.hints",
            "GET",
            Job,
            e => e.Edit(json => json["tasks"]![0]!.AsObject().Remove("hints"))
        ),
        new("any owner is good", "request.hints-owner", "GET", Manifest, e => Replace(e, "caution", "allow")),
        new(
            "what cannot be read is good",
            "request.hints-unreadable",
            "GET",
            Manifest,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("image.index", StringComparison.Ordinal)
                        && !e.Text.Contains("flatten", StringComparison.Ordinal),
                    json =>
                        json["manifests"]![0]!["annotations"] = new JsonObject
                        {
                            ["org.supercontainers.flatten.ownership"] = "allow",
                        }
                )
        ),
        new(
            "the evidence of hints is about another image",
            "request.hints-document request.hints-pushed",
            "GET",
            Manifest,
            e =>
                EditIf(
                    e,
                    e.Text.Contains("hints.v1", StringComparison.Ordinal),
                    json => json["subject"]!["digest"] = "sha256:0"
                )
        ),
        new(
            "pushed images are not measured",
            "request.hints-pushed",
            "POST",
            "/_build/v1/hints",
            e => AnswerIf(e, e.Status == 201, 202, "")
        ),
        new(
            "secrets have any size",
            "request.secret-size",
            "POST",
            Secrets,
            e => AnswerIf(e, e.Status == 413, 201, """{"ref":"x"}""")
        ),
        new(
            "two secrets have one id",
            "request.secret-distinct",
            "POST",
            Jobs,
            e => AnswerIf(e, e.Status == 400, 202, "{}")
        ),
    ];

    /// <summary>A request that comes again is another one.</summary>
    private static Action<Exchange> Apart()
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        return e =>
            EditRequestIf(
                e,
                !seen.Add(e.Path + e.RequestText),
                json => json["labels"] = new JsonObject { ["a"] = Guid.NewGuid().ToString() }
            );
    }

    /// <summary>A request in the second repository gets the execution that the first one got.</summary>
    private static Action<Exchange> Shared()
    {
        var executions = new Dictionary<string, string>(StringComparer.Ordinal);
        return e =>
        {
            if (e.Status != 202)
            {
                return;
            }

            if (
                !executions.TryAdd(e.RequestText, BreakingProxy.Parse(e.Body)!["tasks"]![0]!["execution"]!.ToString())
                && e.Path.Contains("/b/", StringComparison.Ordinal)
            )
            {
                e.Edit(json => json["tasks"]![0]!["execution"] = executions[e.RequestText]);
            }
        };
    }

    /// <summary>The third of three equal requests is answered as by a result.</summary>
    private static Action<Exchange> AnsweredAgain()
    {
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        return e =>
        {
            seen[e.RequestText] = seen.GetValueOrDefault(e.RequestText) + 1;
            EditIf(e, seen[e.RequestText] == 3, json => json["tasks"]![0]!["cached"] = true);
        };
    }

    /// <summary>Each lease gets the last secret that was uploaded.</summary>
    private static Action<Exchange> Leaking()
    {
        var last = "";
        return e =>
        {
            if (e.Path.EndsWith("/secrets", StringComparison.Ordinal))
            {
                last = Convert.ToBase64String(e.RequestBody);
            }
            else
            {
                EditIf(
                    e,
                    e.Status == 201 && !e.Text.Contains(last, StringComparison.Ordinal),
                    json => json["leaked"] = last
                );
            }
        };
    }

    /// <summary>Each job has the last secret that was uploaded.</summary>
    private static Action<Exchange> Telling()
    {
        var last = "";
        return e =>
        {
            if (e.Path.EndsWith("/secrets", StringComparison.Ordinal))
            {
                last = e.RequestText;
            }
            else if (e.Method == "GET")
            {
                e.Edit(json => json["told"] = last);
            }
        };
    }
}
