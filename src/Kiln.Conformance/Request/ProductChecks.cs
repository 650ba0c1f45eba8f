using System.Text.Json.Nodes;
using Kiln.Conformance.Node;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Products and hints: section 11 of the <c>_build</c> extension.</summary>
internal static class ProductChecks
{
    private const string Ownership = "org.supercontainers.flatten.ownership";
    private const string Mode = "org.supercontainers.flatten.mode";
    private const string Hints = "application/vnd.supercontainers.build.hints.v1+json";
    private const string UnpackedBytes = "org.supercontainers.unpacked.bytes";

    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.product-index", "tags point at an index with an entry for each task", "P-1", IndexAsync),
        new("request.product-kept", "the product is as the node pushed it", "P-2", KeptAsync),
        new("request.hints", "what was measured stands on the index entry and in the job", "P-4", HintsAsync),
        new("request.hints-owner", "an owner that no other machine has is a caution", "P-5", OwnerAsync),
        new("request.hints-unreadable", "a layer that cannot be read gets no hints", "P-6", UnreadableAsync),
        new("request.hints-document", "the evidence is attached, and named in the result", "P-7 P-8", DocumentAsync),
        new("request.hints-pushed", "a pushed image is measured on request", "P-9", PushedAsync),
    ];

    private static async Task IndexAsync(Session session)
    {
        var node = await session.NodeAsync();
        var request = await Jobs.RequestAsync(session);
        // The one with a variant comes first in the request, and last in the index.
        request["targets"] = Json.ArrayOf(
            new JsonObject { ["platform"] = node.OtherPlatform },
            new JsonObject { ["platform"] = node.Platform }
        );
        var tag = "t" + Session.Unique();
        request["tags"] = new JsonArray(tag);
        var job = await Jobs.NewAsync(session, request);
        var images = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < 2; i++)
        {
            var lease = await node.ClaimAsync(job);
            images[lease.Document.Text("taskId")] = (await lease.SucceedAsync($"{i}")).Digest;
        }

        var answer = (await session.GetAsync(session.At($"manifests/{tag}"))).Must(200).MustBe(Types.Index);
        var entries = answer.Json().Items("manifests");
        if (
            !entries
                .Select(entry => entry.Text("digest"))
                .SequenceEqual([images["t2"], images["t1"]], StringComparer.Ordinal)
        )
        {
            throw answer.Failure("has not one entry for each task, the one without a variant first");
        }

        entries[0].Member("platform").MustHave("architecture", node.Platform.Split('/')[1]);
        entries[1].Member("platform").MustHave("variant", "other");
    }

    private static async Task KeptAsync(Session session)
    {
        var (_, image) = await BuildAsync(session, lease => lease.PushImageAsync());
        var answer = (await session.GetAsync(session.At($"manifests/{image.Digest}"))).Must(200);
        answer.MustEqual(image.Bytes).MustBe(Types.Manifest);
        foreach (var layer in answer.Json().Items("layers"))
        {
            (await session.HeadAsync(session.At($"blobs/{layer.Text("digest")}"))).Must(200);
        }
    }

    private static async Task HintsAsync(Session session)
    {
        var (job, _) = await BuildAsync(session, lease => lease.PushImageAsync("12345"));
        var annotations = await AnnotationsAsync(session, job);
        annotations.MustHave(Ownership, "allow");
        annotations.MustHave(Mode, "allow");
        annotations.MustHave(UnpackedBytes, "5");
        annotations.Text("org.supercontainers.ids");
        annotations.MustHave("org.supercontainers.unpacked.files", "1");
        Jobs.Task(job).Member("hints").MustHave("flattenOwnership", "allow");
    }

    private static async Task OwnerAsync(Session session)
    {
        var (job, _) = await BuildAsync(session, lease => lease.PushImageAsync(owner: 100_000));
        (await AnnotationsAsync(session, job)).MustHave(Ownership, "caution");
    }

    private static async Task UnreadableAsync(Session session)
    {
        var layer = Content.ItemOf(Content.Random(100), "application/vnd.example.layer");
        var (job, image) = await BuildAsync(session, lease => lease.PushImageAsync(layer, layer.Digest));
        var entry = (await IndexOfAsync(session, job)).First("manifests");
        entry.MustHave("digest", image.Digest);
        if (((entry as JsonObject)?["annotations"] as JsonObject)?[Ownership] is not null)
        {
            throw new CheckFailedException("an image with a layer that nobody can read has a verdict");
        }
    }

    private static async Task DocumentAsync(Session session)
    {
        var (job, image) = await BuildAsync(session, lease => lease.PushImageAsync("12345"));
        var named = job.Member("result").First("outputs").Member("hints").Text("digest");
        var answer = (await session.GetAsync(session.At($"manifests/{named}"))).Must(200);
        var manifest = answer.Json();
        manifest.MustHave("artifactType", Hints);
        manifest.Member("subject").MustHave("digest", image.Digest);
        var layer = manifest.First("layers");
        layer.MustHave("mediaType", Hints);
        var document = (await session.GetAsync(session.At($"blobs/{layer.Text("digest")}"))).Must(200).Json();
        document.Member("subject").MustHave("digest", image.Digest);
        document.Member("flatten").MustHave("ownership", "allow");
        if (!JsonNode.DeepEquals(document.Member("annotations"), await AnnotationsAsync(session, job)))
        {
            throw new CheckFailedException("the document's annotations are not those of the index entry");
        }
    }

    private static async Task PushedAsync(Session session)
    {
        var tar = Content.Tar(Content.File("hello", Session.Unique(), 0));
        var layer = Content.ItemOf(Content.Gzip(tar), Types.LayerGzip);
        var config = new JsonObject
        {
            ["os"] = "linux",
            ["architecture"] = "amd64",
            ["rootfs"] = new JsonObject { ["type"] = "layers", ["diff_ids"] = new JsonArray(Content.Sha256(tar)) },
        };
        var image = Content.ItemOf(
            Content
                .Manifest(
                    await session.PushAsync(Content.ItemOf(config.Bytes(), Types.Config)),
                    await session.PushAsync(layer)
                )
                .Bytes(),
            Types.Manifest
        );
        (await session.PutManifestAsync(image, image.Digest)).Needed("a pushed image");
        var address = session.At($"_build/v1/hints?digest={image.Digest}");
        (await session.GetAsync(address)).MustFail(404, "BUILD_HINTS_UNKNOWN");
        var made = (await session.SendAsync(new Call("POST", address))).Must(201);
        (await session.GetAsync(made.Location.PathAndQuery))
            .Must(200)
            .Json()
            .Member("subject")
            .MustHave("digest", image.Digest);
        (await session.GetAsync(address)).Must(200).Json().Member("subject").MustHave("digest", image.Digest);
    }

    private static async Task<(JsonNode Job, Item Image)> BuildAsync(
        Session session,
        Func<PlayedLease, Task<Item>> push
    )
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session);
        var lease = await node.ClaimAsync(job);
        var image = await push(lease);
        (await lease.ResultAsync(PlayedLease.Succeeded(image))).Needed("a result");
        return (await Jobs.NowAsync(session, job), image);
    }

    private static async Task<JsonNode> AnnotationsAsync(Session session, JsonNode job) =>
        (await IndexOfAsync(session, job)).First("manifests").Member("annotations");

    private static async Task<JsonNode> IndexOfAsync(Session session, JsonNode job)
    {
        var digest = job.Member("result").Member("manifest").Text("digest");
        return (await session.GetAsync(session.At($"manifests/{digest}"))).Needed("the index").Json();
    }
}
