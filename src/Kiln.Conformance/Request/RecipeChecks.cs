using System.Formats.Tar;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Recipe artifacts: section 2 of the <c>_build</c> extension.</summary>
internal static class RecipeChecks
{
    private const string Role = "org.supercontainers.build.role";
    private const string Title = "org.opencontainers.image.title";
    private const string Strip = "org.supercontainers.build.context.strip";
    private const string Unpack = "io.deis.oras.content.unpack";

    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.artifact", "a recipe artifact is built, by digest or tag", "R-1 J-1", ArtifactAsync),
        new("request.artifact-config", "an artifact is a recipe by its config's type, too", "R-1", ConfigTypeAsync),
        new("request.artifact-layers", "an artifact has one recipe, and nothing of no known role", "R-2", LayersAsync),
        new("request.artifact-roles", "what a layer is, its type, annotation or title says", "R-3", RolesAsync),
        new("request.contexts", "contexts come in their order, with what is to be stripped", "R-4 R-5", ContextsAsync),
        new("request.context-escape", "a context that leads out of its directory is refused", "R-6", EscapeAsync),
        new("request.defaults-config", "options are taken from the config", "R-7", ConfigDefaultsAsync),
        new("request.defaults-annotations", "options are taken from annotations", "R-8", AnnotationsAsync),
        new(
            "request.defaults-order",
            "the request counts before annotations, and those before the config",
            "R-9",
            OrderAsync
        ),
        new("request.tag-of-recipe", "the tag X.recipe names the product X", "R-10", TagAsync),
        new("request.tag-taken", "no product takes its recipe's tag", "R-10", TagTakenAsync),
    ];

    private static async Task ArtifactAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        var artifact = await PushAsync(session, tag, [Dockerfile()]);
        foreach (var (name, value) in new[] { ("digest", artifact.Digest), ("tag", tag) })
        {
            var job = (await AskAsync(session, new JsonObject { [name] = value })).MustSucceed().Json();
            job.Member("recipe").MustHave("digest", artifact.Digest);
        }
    }

    private static async Task ConfigTypeAsync(Session session)
    {
        var artifact = await PushAsync(session, null, [Dockerfile()], config: [], artifactType: false);
        (await AskAsync(session, ByDigest(artifact))).MustSucceed();
    }

    private static async Task LayersAsync(Session session)
    {
        var unknown = Content.ItemOf(Content.Random(16), "application/vnd.example.unknown");
        foreach (
            var layers in new IReadOnlyList<Item>[]
            {
                [ContextOf("a")],
                [Dockerfile(), Dockerfile()],
                [Dockerfile(), unknown],
            }
        )
        {
            var artifact = await PushAsync(session, null, layers);
            (await AskAsync(session, ByDigest(artifact))).MustFail(422, "BUILD_RECIPE_INVALID");
        }
    }

    private static async Task RolesAsync(Session session)
    {
        var layer = Content.ItemOf(Jobs.Recipe(), Types.Layer);
        foreach (
            var (annotation, value) in new[]
            {
                (Role, "recipe"),
                (Title, "sub/Containerfile"),
                (Title, "my.dockerfile"),
            }
        )
        {
            var artifact = await PushAsync(
                session,
                null,
                [layer],
                annotate: _ => new JsonObject { [annotation] = value }
            );
            (await AskAsync(session, ByDigest(artifact))).MustSucceed();
        }

        var bad = await PushAsync(
            session,
            null,
            [Dockerfile(), layer],
            annotate: i => i == 1 ? new JsonObject { [Role] = "none" } : []
        );
        (await AskAsync(session, ByDigest(bad))).MustFail(422, "BUILD_RECIPE_INVALID");
    }

    private static async Task ContextsAsync(Session session)
    {
        var node = await session.NodeAsync();
        Item[] layers = [Dockerfile("COPY a /a"), ContextOf("x/a"), ContextOf("y/z/a"), ContextOf("dir/a")];
        var artifact = await PushAsync(
            session,
            null,
            layers,
            annotate: i =>
                i switch
                {
                    2 => new JsonObject { [Strip] = "2" },
                    3 => new JsonObject { [Title] = "./dir", [Unpack] = "true" },
                    _ => [],
                }
        );
        var job = Jobs.NeededJob(await AskAsync(session, ByDigest(artifact)));
        var contexts = (await node.ClaimAsync(job)).Task.Items("contexts");
        var found = contexts.Select(c =>
            (c.Member("blob").Text("digest"), c?["strip"] is null ? 0 : c.Number("strip"))
        );
        var expected = new[] { (layers[1].Digest, 0L), (layers[2].Digest, 2L), (layers[3].Digest, 1L) };
        if (!found.SequenceEqual(expected))
        {
            throw new CheckFailedException(
                $"the contexts of the lease are not those of the artifact, in their order, with their strip: {found.Count()}"
            );
        }
    }

    private static async Task EscapeAsync(Session session)
    {
        foreach (
            var entry in new[]
            {
                Content.File("../a", "b"),
                Content.File("/a", "b"),
                Content.File("a/../../b", "b"),
                new GnuTarEntry(TarEntryType.Fifo, "pipe"),
            }
        )
        {
            var context = Content.ItemOf(Content.Gzip(Content.Tar(entry)), Types.Context);
            var artifact = await PushAsync(session, null, [Dockerfile(), context]);
            (await AskAsync(session, ByDigest(artifact))).MustFail(422, "BUILD_RECIPE_INVALID");
        }
    }

    private static async Task ConfigDefaultsAsync(Session session)
    {
        var node = await session.NodeAsync();
        var config = new JsonObject
        {
            ["args"] = new JsonObject { ["A"] = "config" },
            // Of no effect here.
            ["recipe"] = Jobs.Inline("FROM scratch AS other\n"),
        };
        var layer = Dockerfile();
        var artifact = await PushAsync(session, null, [layer], config);
        var job = Jobs.NeededJob(await AskAsync(session, ByDigest(artifact)));
        var task = (await node.ClaimAsync(job)).Task;
        task.Member("args").MustHave("A", "config");
        task.Member("recipe").MustHave("digest", layer.Digest);
    }

    private static async Task AnnotationsAsync(Session session)
    {
        var node = await session.NodeAsync();
        var tag = "t" + Session.Unique();
        var annotations = Prefixed(
            ("tags", tag),
            ("platforms", node.Platform),
            ("arg.A", "annotation"),
            ("label.org.example.l", "m"),
            ("timeout", "77")
        );
        var artifact = await PushAsync(session, null, [Dockerfile()], annotations: annotations);
        var answer = await Jobs.PostAsync(session, new JsonObject { ["recipe"] = ByDigest(artifact) });
        var job = answer.MustSucceed().Json();
        if (!job.Texts("tags").SequenceEqual([tag], StringComparer.Ordinal))
        {
            throw new CheckFailedException("the job's tags are not those of the annotation");
        }

        var task = (await node.ClaimAsync(job)).Task;
        task.Member("args").MustHave("A", "annotation");
        task.Member("labels").MustHave("org.example.l", "m");
        if (task.Number("timeoutSeconds") != 77)
        {
            throw new CheckFailedException($"'timeoutSeconds' is {task.Number("timeoutSeconds")}, not 77");
        }
    }

    private static async Task OrderAsync(Session session)
    {
        var node = await session.NodeAsync();
        static JsonObject Args(params string[] names) =>
            new(names.Skip(1).Select(n => KeyValuePair.Create<string, JsonNode?>(n, names[0])));
        var artifact = await PushAsync(
            session,
            null,
            [Dockerfile()],
            config: new JsonObject { ["args"] = Args("config", "A", "B", "C") },
            annotations: Prefixed(("arg.B", "annotation"), ("arg.C", "annotation"))
        );
        var request = await WithPlatformAsync(session, ByDigest(artifact));
        request["args"] = Args("request", "C");
        var args = (await node.ClaimAsync(Jobs.NeededJob(await Jobs.PostAsync(session, request)))).Task.Member("args");
        args.MustHave("A", "config");
        args.MustHave("B", "annotation");
        args.MustHave("C", "request");
    }

    private static async Task TagAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        await PushAsync(session, tag + ".recipe", [Dockerfile()]);
        var job = (await AskAsync(session, new JsonObject { ["tag"] = tag + ".recipe" })).MustSucceed().Json();
        if (!job.Texts("tags").SequenceEqual([tag], StringComparer.Ordinal))
        {
            throw new CheckFailedException($"the job's tags are {string.Join(", ", job.Texts("tags"))}, not {tag}");
        }
    }

    private static async Task TagTakenAsync(Session session)
    {
        var tag = "t" + Session.Unique();
        var artifact = await PushAsync(session, tag, [Dockerfile()]);
        var request = await WithPlatformAsync(session, ByDigest(artifact));
        request["tags"] = new JsonArray(tag);
        (await Jobs.PostAsync(session, request)).MustFail(400, "BUILD_REQUEST_INVALID");
    }

    /// <summary>Pushes a recipe artifact of which no push starts a build.</summary>
    public static async Task<Item> PushAsync(
        Session session,
        string? tag,
        IReadOnlyList<Item> layers,
        JsonObject? config = null,
        JsonObject? annotations = null,
        Func<int, JsonObject>? annotate = null,
        bool artifactType = true
    )
    {
        var empty = config is null
            ? Content.ItemOf("{}", Types.Empty)
            : Content.ItemOf(config.Bytes(), Types.RecipeConfig);
        var manifest = Content.Manifest(await session.PushAsync(empty));
        if (artifactType)
        {
            manifest["artifactType"] = Types.Recipe;
        }

        for (var i = 0; i < layers.Count; i++)
        {
            var descriptor = (await session.PushAsync(layers[i])).Descriptor;
            if (annotate?.Invoke(i) is { Count: > 0 } own)
            {
                descriptor["annotations"] = own;
            }

            manifest["layers"]!.AsArray().Add((JsonNode)descriptor);
        }

        annotations ??= [];
        annotations["org.supercontainers.build.trigger"] = "none";
        manifest["annotations"] = annotations;
        var item = Content.ItemOf(manifest.Bytes(), Types.Manifest);
        (await session.PutManifestAsync(item, tag ?? item.Digest)).Needed("a pushed recipe");
        return item;
    }

    public static Item Dockerfile(string more = "") => Content.ItemOf($"{Jobs.Recipe()}{more}\n", Types.Dockerfile);

    public static JsonObject ByDigest(Item artifact) => new() { ["digest"] = artifact.Digest };

    public static async Task<Answer> AskAsync(Session session, JsonObject recipe) =>
        await Jobs.PostAsync(session, await WithPlatformAsync(session, recipe));

    private static async Task<JsonObject> WithPlatformAsync(Session session, JsonObject recipe)
    {
        var request = await Jobs.RequestAsync(session);
        request["recipe"] = recipe;
        return request;
    }

    private static Item ContextOf(string path) =>
        Content.ItemOf(Content.Gzip(Content.Tar(Content.File(path, Session.Unique()))), Types.Context);

    private static JsonObject Prefixed(params (string Name, string Value)[] annotations) =>
        new(
            annotations.Select(a =>
                KeyValuePair.Create<string, JsonNode?>("org.supercontainers.build." + a.Name, a.Value)
            )
        );
}
