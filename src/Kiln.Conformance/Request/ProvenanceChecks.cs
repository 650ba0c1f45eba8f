using System.Text.Json.Nodes;
using Kiln.Conformance.Node;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>What says how a product was made: section 16 of the <c>_build</c> extension.</summary>
internal static class ProvenanceChecks
{
    private const string InToto = "application/vnd.in-toto+json";
    private const string Log = "application/vnd.supercontainers.build.log.v1";
    private const string Slsa = "https://slsa.dev/provenance/v1";

    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.provenance", "a product has its provenance attached", "V-1", AttachedAsync),
        new("request.provenance-listed", "it is listed with what refers to the product", "V-1 V-7", ListedAsync),
        new("request.provenance-log", "and so is its log, whole", "V-1 V-2", LogAsync),
        new("request.provenance-result", "the job's result names both", "V-2", ResultAsync),
        new("request.provenance-reused", "who gets an earlier product gets its provenance", "V-3", ReusedAsync),
        new("request.provenance-statement", "the statement says what went in", "V-4", StatementAsync),
        new("request.provenance-builder", "who built is not what the node says of itself", "V-5", BuilderAsync),
        new("request.provenance-secret", "no secret is in it", "V-6", SecretAsync),
    ];

    private static async Task AttachedAsync(Session session)
    {
        var (_, output, image) = await BuildAsync(session);
        var manifest = await ManifestAsync(session, Provenance(output));
        manifest.MustHave("artifactType", InToto);
        manifest.Member("subject").MustHave("digest", image.Digest);
        manifest.Member("config").MustHave("mediaType", Types.Empty);
        if (manifest.Items("layers").Count != 1)
        {
            throw new CheckFailedException($"the provenance has {manifest.Items("layers").Count} layers, not one");
        }

        manifest.First("layers").MustHave("mediaType", InToto);
        manifest.First("layers").Member("annotations").MustHave("in-toto.io/predicate-type", Slsa);
    }

    private static async Task ListedAsync(Session session)
    {
        var (_, output, image) = await BuildAsync(session);
        var answer = (await session.GetAsync(session.At($"referrers/{image.Digest}"))).Must(200);
        var entries = answer.Json().Items("manifests");
        foreach (var (type, digest) in new[] { (InToto, Provenance(output)), (Log, LogOf(output)) })
        {
            if (!entries.Any(entry => entry.Text("digest") == digest && entry.MaybeText("artifactType") == type))
            {
                throw answer.Failure($"does not list {digest} as {type}");
            }
        }
    }

    private static async Task LogAsync(Session session)
    {
        var (job, output, image) = await BuildAsync(session, async lease => await lease.LogAsync(0, "one\ntwo\n"));
        var manifest = await ManifestAsync(session, LogOf(output));
        manifest.MustHave("artifactType", Log);
        manifest.Member("subject").MustHave("digest", image.Digest);
        manifest.First("layers").MustHave("mediaType", "text/plain");
        var log = (await session.GetAsync(Jobs.At(session, job, "/logs?task=t1"))).Needed("the log");
        var kept = await session.GetAsync(session.At($"blobs/{manifest.First("layers").Text("digest")}"));
        kept.Must(200).MustEqual(log.Body);
    }

    private static async Task ResultAsync(Session session)
    {
        var (_, output, _) = await BuildAsync(session);
        output.First("provenance").MustHave("artifactType", InToto);
        output.First("provenance").MustHave("mediaType", Types.Manifest);
        output.Member("log").MustHave("mediaType", Types.Manifest);
        foreach (var digest in new[] { output.First("provenance").Text("digest"), output.Member("log").Text("digest") })
        {
            (await session.HeadAsync(session.At($"manifests/{digest}"))).Must(200);
        }
    }

    private static async Task ReusedAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        var (_, first, _) = await BuildAsync(session, request: request);
        var again = await Jobs.NewAsync(session, request);
        if (!again.Flag("done"))
        {
            throw new SkippedException("a job that is answered by a result is needed first");
        }

        var output = again.Member("result").First("outputs");
        if (Provenance(output) != Provenance(first) || LogOf(output) != LogOf(first))
        {
            throw new CheckFailedException("the second of two equal jobs names another provenance, or another log");
        }
    }

    private static async Task StatementAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["args"] = new JsonObject { ["A"] = "b" };
        var (job, output, image) = await BuildAsync(session, request: request);
        var (statement, _) = await StatementOfAsync(session, output);
        statement.MustHave("_type", "https://in-toto.io/Statement/v1");
        statement.MustHave("predicateType", Slsa);
        statement.First("subject").Member("digest").MustHave("sha256", Hex(image.Digest));
        var definition = statement.Member("predicate").Member("buildDefinition");
        definition.MustHave("buildType", "https://supercontainers.org/build/dockerfile/v1");
        var asked = definition.Member("externalParameters");
        asked.Member("recipe").MustHave("digest", job.Member("recipe").Text("digest"));
        asked.MustHave("platform", Jobs.Task(job).Text("platform"));
        asked.Member("args").MustHave("A", "b");
        definition.Member("internalParameters").MustHave("key", Jobs.Task(job).Text("key"));
        var names = definition.Items("resolvedDependencies").Select(dependency => dependency.Text("name")).ToList();
        if (
            !names.Contains("recipe", StringComparer.Ordinal) || !names.Contains("recipe-layer", StringComparer.Ordinal)
        )
        {
            throw new CheckFailedException(
                $"the dependencies are {string.Join(", ", names)}, without recipe or recipe-layer"
            );
        }

        var details = statement.Member("predicate").Member("runDetails");
        foreach (var member in new[] { "invocationId", "startedOn", "finishedOn" })
        {
            details.Member("metadata").Text(member);
        }
    }

    private static async Task BuilderAsync(Session session)
    {
        var (_, output, _) = await BuildAsync(session);
        var (statement, _) = await StatementOfAsync(session, output);
        var id = statement.Member("predicate").Member("runDetails").Member("builder").Text("id");
        var parts = id.Split("/v2/_build/v1/nodes/");
        if (parts.Length != 2 || parts[1].Length == 0 || parts[1] == "conformance")
        {
            throw new CheckFailedException($"builder.id is '{id}', not ORIGIN/v2/_build/v1/nodes/PRINCIPAL");
        }
    }

    private static async Task SecretAsync(Session session)
    {
        var value = Session.Unique();
        var name = "s" + Session.Unique();
        var request = await Jobs.RequestAsync(session);
        var secret = await SecretChecks.UploadAsync(session, value);
        request["secrets"] = Json.ArrayOf(new JsonObject { ["id"] = name, ["ref"] = secret });
        var (_, output, _) = await BuildAsync(
            session,
            async lease => await lease.LogAsync(0, $"it is {value}\n"),
            request
        );
        var (_, statement) = await StatementOfAsync(session, output);
        if (
            statement.Text.Contains(value, StringComparison.Ordinal)
            || statement.Text.Contains(name, StringComparison.Ordinal)
        )
        {
            throw statement.Failure("has a secret's value or id");
        }

        var manifest = await ManifestAsync(session, LogOf(output));
        var log = await session.GetAsync(session.At($"blobs/{manifest.First("layers").Text("digest")}"));
        if (log.Needed("the log").Text.Contains(value, StringComparison.Ordinal))
        {
            throw log.Failure("has a secret's value");
        }
    }

    private static async Task<(JsonNode Job, JsonNode Output, Item Image)> BuildAsync(
        Session session,
        Func<PlayedLease, Task>? meanwhile = null,
        JsonObject? request = null
    )
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session, request);
        var lease = await node.ClaimAsync(job);
        if (meanwhile is not null)
        {
            await meanwhile(lease);
        }

        var image = await lease.SucceedAsync();
        var end = await Jobs.NowAsync(session, job);
        return end.Text("state") == "succeeded"
            ? (end, end.Member("result").First("outputs"), image)
            : throw new SkippedException("a job that has succeeded is needed first");
    }

    private static async Task<(JsonNode Statement, Answer Blob)> StatementOfAsync(Session session, JsonNode output)
    {
        var manifest = await ManifestAsync(session, Provenance(output));
        var blob = await session.GetAsync(session.At($"blobs/{manifest.First("layers").Text("digest")}"));
        return (blob.Needed("the statement").Json(), blob);
    }

    private static async Task<JsonNode> ManifestAsync(Session session, string digest) =>
        (await session.GetAsync(session.At($"manifests/{digest}"))).Must(200).Json();

    private static string Provenance(JsonNode output) => Named(() => output.First("provenance").Text("digest"));

    private static string LogOf(JsonNode output) => Named(() => output.Member("log").Text("digest"));

    // Whether the result names them is a check of its own.
    private static string Named(Func<string> digest)
    {
        try
        {
            return digest();
        }
        catch (CheckFailedException e)
        {
            throw new SkippedException($"a result that names provenance and log is needed first: {e.Message}");
        }
    }

    private static string Hex(string digest) => digest[(digest.IndexOf(':', StringComparison.Ordinal) + 1)..];
}
