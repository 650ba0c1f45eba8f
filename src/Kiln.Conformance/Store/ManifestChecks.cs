using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Store;

/// <summary>Pushing and pulling manifests (distribution-spec, "Pushing Manifests", "Pulling manifests").</summary>
internal static class ManifestChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("store.manifest-put-digest", "a manifest is pushed by its digest", "end-7a", PutDigestAsync),
        new("store.manifest-put-tag", "a manifest is pushed by a tag", "end-7a", PutTagAsync),
        new("store.manifest-put-tags", "one push by digest sets tags", "end-7b", PutTagsAsync),
        new("store.manifest-bad-digest", "a manifest of another digest is refused", "end-7a", BadDigestAsync),
        new("store.manifest-get-tag", "a manifest is pulled by a tag, as it was pushed", "end-3", GetTagAsync),
        new("store.manifest-get-digest", "a manifest is pulled by its digest", "end-3", GetDigestAsync),
        new("store.manifest-head", "HEAD of a manifest says its type and size", "end-3", HeadAsync),
        new("store.manifest-unknown", "a manifest that is not there gets 404", "end-3", UnknownAsync),
        new("store.manifest-index", "an index of manifests", "end-3 end-7a", IndexAsync),
        new("store.manifest-artifact", "an artifact, with members that nobody knows", "end-3 end-7a", ArtifactAsync),
        new("store.recipe", "a recipe artifact, as build services keep them", "R-1", RecipeAsync),
    ];

    private static async Task PutDigestAsync(Session session)
    {
        var manifest = await ManifestAsync(session);
        var pushed = (await session.PutManifestAsync(manifest, manifest.Digest)).Must(201);
        (await session.GetAsync(pushed.Location.AbsoluteUri)).Needed("the manifest").MustEqual(manifest.Bytes);
    }

    private static async Task PutTagAsync(Session session)
    {
        var manifest = await ManifestAsync(session);
        var pushed = (await session.PutManifestAsync(manifest, "t" + Session.Unique())).Must(201);
        if (pushed.Header("Docker-Content-Digest") is not null)
        {
            pushed.MustHave("Docker-Content-Digest", manifest.Digest);
        }

        (await session.GetAsync(pushed.Location.AbsoluteUri)).Needed("the manifest").MustEqual(manifest.Bytes);
    }

    private static async Task PutTagsAsync(Session session)
    {
        var manifest = await ManifestAsync(session);
        string[] tags = ["t" + Session.Unique(), "t" + Session.Unique()];
        var pushed = (
            await session.PutManifestAsync(manifest, $"{manifest.Digest}?tag={tags[0]}&tag={tags[1]}")
        ).Needed("a pushed manifest");
        if (pushed.Header("OCI-Tag") is not { } header)
        {
            throw new UnsupportedException("the answer names no tags");
        }

        foreach (var tag in tags)
        {
            if (!header.Split(',').Select(part => part.Trim()).Contains(tag, StringComparer.Ordinal))
            {
                throw pushed.Failure($"has OCI-Tag: {header}, without {tag}");
            }

            (await session.GetAsync(session.At($"manifests/{tag}"))).Needed("the manifest").MustEqual(manifest.Bytes);
        }
    }

    private static async Task BadDigestAsync(Session session)
    {
        var manifest = await ManifestAsync(session);
        var wrong = Content.Sha256(Content.Random(8));
        (await session.PutManifestAsync(manifest, wrong)).Must(400);
        (await session.PutManifestAsync(manifest, "sha256:baddigeststring")).Must(400);
    }

    private static async Task GetTagAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        var manifest = await session.PushArtifactAsync(tag);
        MustBe(await session.GetAsync(session.At($"manifests/{tag}")), manifest);
    }

    private static async Task GetDigestAsync(Session session)
    {
        var manifest = await session.PushArtifactAsync();
        MustBe(await session.GetAsync(session.At($"manifests/{manifest.Digest}")), manifest);
    }

    private static async Task HeadAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        var manifest = await session.PushArtifactAsync(tag);
        foreach (var reference in new[] { tag, manifest.Digest })
        {
            (await session.HeadAsync(session.At($"manifests/{reference}")))
                .Must(200)
                .MustHave("Content-Type", manifest.MediaType)
                .MustHave("Content-Length", $"{manifest.Bytes.Length}");
        }
    }

    private static async Task UnknownAsync(Session session)
    {
        foreach (var reference in new[] { Content.Sha256(Content.Random(8)), "none-" + Session.Unique() })
        {
            (await session.GetAsync(session.At($"manifests/{reference}"))).Must(404);
            (await session.HeadAsync(session.At($"manifests/{reference}"))).Must(404);
        }
    }

    private static async Task IndexAsync(Session session)
    {
        var child = await session.PushArtifactAsync();
        var index = new JsonObject
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = Types.Index,
            ["manifests"] = Json.ArrayOf(child.Descriptor),
            ["annotations"] = new JsonObject { ["org.example.conformance"] = Session.Unique() },
        };
        var item = Content.ItemOf(index.Bytes(), Types.Index);
        (await session.PutManifestAsync(item, "t" + Session.Unique())).Must(201);
        MustBe(await session.GetAsync(session.At($"manifests/{item.Digest}")), item);
    }

    private static async Task ArtifactAsync(Session session)
    {
        var config = await session.PushAsync(Content.ItemOf("{}", Types.Empty));
        var manifest = Content.Manifest(config, config);
        manifest["artifactType"] = "application/vnd.example.unknown";
        manifest["org.example.member"] = new JsonObject { ["a"] = 1.50, ["b"] = "ü" };
        manifest["annotations"] = new JsonObject { ["org.example.conformance"] = Session.Unique() };
        var item = Content.ItemOf(manifest.Bytes(), Types.Manifest);
        (await session.PutManifestAsync(item, item.Digest)).Must(201);
        MustBe(await session.GetAsync(session.At($"manifests/{item.Digest}")), item);
    }

    private static async Task RecipeAsync(Session session)
    {
        var layer = await session.PushAsync(
            Content.ItemOf($"FROM scratch\nLABEL a={Session.Unique()}\n", Types.Dockerfile)
        );
        var manifest = Content.Manifest(await session.PushAsync(Content.ItemOf("{}", Types.Empty)), layer);
        manifest["artifactType"] = Types.Recipe;
        // A registry that builds is asked not to.
        manifest["annotations"] = new JsonObject { ["org.supercontainers.build.trigger"] = "none" };
        var tag = $"t{Session.Unique()}.recipe";
        var item = Content.ItemOf(manifest.Bytes(), Types.Manifest);
        (await session.PutManifestAsync(item, tag)).Must(201);
        MustBe(await session.GetAsync(session.At($"manifests/{tag}")), item);
        (await session.GetAsync(session.At($"blobs/{layer.Digest}"))).Needed("the recipe").MustEqual(layer.Bytes);
    }

    private static async Task<Item> ManifestAsync(Session session)
    {
        var config = await session.PushAsync(Content.ItemOf("{}", Types.Empty));
        var manifest = Content.Manifest(config, await session.PushAsync(Content.ItemOf(Content.Random(64))));
        manifest["artifactType"] = "application/vnd.example.conformance";
        return Content.ItemOf(manifest.Bytes(), Types.Manifest);
    }

    private static void MustBe(Answer answer, Item manifest)
    {
        answer.Must(200).MustEqual(manifest.Bytes).MustHave("Content-Type", manifest.MediaType);
        if (answer.Header("Docker-Content-Digest") is not null)
        {
            answer.MustHave("Docker-Content-Digest", manifest.Digest);
        }
    }
}
