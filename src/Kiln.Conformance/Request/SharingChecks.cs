using System.Formats.Tar;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.Conformance.Node;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Request;

/// <summary>Build keys, sharing and reuse: sections 7 and 8 of the <c>_build</c> extension.</summary>
internal static class SharingChecks
{
    public static IReadOnlyList<Check> All { get; } =
    [
        new("request.key", "the build key is that of the request", "B-1 B-3", KeyAsync),
        new("request.key-tags", "tags and times are not in it", "B-2", KeyTagsAsync),
        new("request.key-context", "contexts are in it by what they hold", "B-4", KeyContextAsync),
        new("request.share", "a request like one that waits joins it", "K-2", ShareAsync),
        new("request.share-repository", "but not in another repository", "K-1", RepositoryAsync),
        new("request.reuse", "a request like one that is done is answered at once", "K-3 J-7", ReuseAsync),
        new("request.reuse-age", "unless that is too old", "K-3", AgeAsync),
        new("request.reuse-failed", "what failed or was canceled is no answer", "K-4", FailedAsync),
        new("request.cache-none", "who wants no cache shares with nobody", "K-5", NoneAsync),
        new("request.cache-refresh", "who wants fresh bases gets no answer by the key alone", "K-8", RefreshAsync),
        new("request.share-secrets", "a job with secrets shares with nobody", "K-6", SecretsAsync),
    ];

    private static async Task KeyAsync(Session session)
    {
        var recipe = "FROM scratch AS one\n" + Jobs.Recipe();
        var request = await Jobs.RequestAsync(session, recipe);
        request["args"] = new JsonObject { ["B"] = "2", ["A"] = "\"ü\\\n\u0001" };
        request["labels"] = new JsonObject { ["org.example.l"] = "m" };
        request["target"] = "one";
        request["network"] = "none";
        request["reproducible"] = new JsonObject { ["sourceDateEpoch"] = 5 };
        var job = (await Jobs.PostAsync(session, request)).MustSucceed().Json();
        var key = Document(await Jobs.PlatformAsync(session), recipe);
        key["args"] = request["args"]!.DeepClone();
        key["target"] = "one";
        key["options"]!["network"] = "none";
        key["options"]!["sourceDate"] = "5";
        key["options"]!["label.org.example.l"] = "m";
        await MustBeAsync(session, job, key);
    }

    private static async Task KeyTagsAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        request["cache"] = new JsonObject { ["policy"] = "none" };
        var first = await Jobs.NewAsync(session, request);
        request["tags"] = new JsonArray("t" + Session.Unique());
        request["timeoutSeconds"] = 99;
        request["queueSeconds"] = 99;
        var second = await Jobs.NewAsync(session, request);
        Jobs.Task(second).MustHave("key", Jobs.Task(first).Text("key"));
    }

    private static async Task KeyContextAsync(Session session)
    {
        var tar = Content.Tar(
            Content.File("sub/b", "1"),
            Content.File("a", "2"),
            new GnuTarEntry(TarEntryType.SymbolicLink, "l") { LinkName = "ä" },
            new GnuTarEntry(TarEntryType.Directory, "d/") { Mode = (UnixFileMode)0b111_101_000 }
        );
        var context = await session.PushAsync(Content.ItemOf(Content.Gzip(tar), Types.Context));
        var recipe = Jobs.Recipe();
        var request = await Jobs.RequestAsync(session, recipe);
        request["contexts"] = Json.ArrayOf(context.Descriptor);
        var job = (await Jobs.PostAsync(session, request)).MustSucceed().Json();
        var key = Document(await Jobs.PlatformAsync(session), recipe);
        key["contexts"] = new JsonArray(BuildKey.TreeDigest(tar));
        key["options"]!["network"] = await DefaultNetworkAsync(session);
        await MustBeAsync(session, job, key);
    }

    private static async Task ShareAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        var first = await Jobs.NewAsync(session, request);
        var task = Jobs.Task(await Jobs.NewAsync(session, request));
        if (task.Text("execution") != Jobs.Task(first).Text("execution") || !task.Flag("shared"))
        {
            throw new CheckFailedException(
                "the second of two equal jobs got an execution of its own, or is not 'shared'"
            );
        }
    }

    private static async Task RepositoryAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        var first = await Jobs.NewAsync(session, request);
        var second = await Jobs.NewAsync(session, request, session.Other);
        if (Jobs.Task(first).Text("execution") == Jobs.Task(second).Text("execution"))
        {
            throw new CheckFailedException("jobs of two repositories got one execution");
        }
    }

    private static async Task ReuseAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        await SucceededAsync(session, request);
        var tag = "t" + Session.Unique();
        request["tags"] = new JsonArray(tag);
        var job = (await Jobs.PostAsync(session, request)).Must(200).Json();
        if (!job.Flag("cached") || !Jobs.Task(job).Flag("cached"))
        {
            throw new CheckFailedException("a job that was answered by a result is not 'cached'");
        }

        Jobs.MustBe(job, "succeeded");
        (await session.HeadAsync(session.At($"manifests/{tag}"))).Must(200);
    }

    private static async Task AgeAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        await SucceededAsync(session, request);
        request["cache"] = new JsonObject { ["policy"] = "reuse", ["maxAgeSeconds"] = 0 };
        MustBeNew(await Jobs.NewAsync(session, request));
    }

    private static async Task FailedAsync(Session session)
    {
        var node = await session.NodeAsync();
        var request = await Jobs.RequestAsync(session);
        await (await node.ClaimAsync(await Jobs.NewAsync(session, request))).FailAsync();
        var canceled = await Jobs.NewAsync(session, request);
        MustBeNew(canceled);
        (await session.DeleteAsync(Jobs.At(session, canceled))).Needed("a canceled job");
        await Jobs.EndAsync(session, canceled);
        MustBeNew(await Jobs.NewAsync(session, request));
    }

    private static async Task NoneAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        var waiting = await Jobs.NewAsync(session, request);
        var none = (JsonObject)request.DeepClone();
        none["cache"] = new JsonObject { ["policy"] = "none" };
        var alone = await Jobs.NewAsync(session, none);
        if (Jobs.Task(alone).Text("execution") == Jobs.Task(waiting).Text("execution"))
        {
            throw new CheckFailedException("a job with cache.policy 'none' joined another's execution");
        }

        var node = await session.NodeAsync();
        (await session.DeleteAsync(Jobs.At(session, waiting))).Needed("a canceled job");
        await (await node.ClaimAsync(alone)).SucceedAsync();
        MustBeNew(await Jobs.NewAsync(session, request));
    }

    private static async Task RefreshAsync(Session session)
    {
        var node = await session.NodeAsync();
        var request = await Jobs.RequestAsync(session);
        var (_, image) = await SucceededAsync(session, request);
        request["cache"] = new JsonObject { ["policy"] = "refresh" };
        var job = await Jobs.NewAsync(session, request);
        MustBeNew(job);
        var lease = await node.ClaimAsync(job);
        if ((lease.Task as JsonObject)?["earlier"] is null)
        {
            throw new CheckFailedException("the lease does not name the earlier result of the key");
        }

        lease.Task.First("earlier").Member("manifest").MustHave("digest", image.Digest);
        // The bases are the same, so the earlier product is the result, without a build.
        (await lease.ResultAsync(PlayedLease.Succeeded(image))).Must(200);
        Jobs.MustBe(await Jobs.NowAsync(session, job), "succeeded");
    }

    private static async Task SecretsAsync(Session session)
    {
        var request = await Jobs.RequestAsync(session);
        var executions = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < 2; i++)
        {
            var secret = await SecretChecks.UploadAsync(session, Session.Unique());
            request["secrets"] = Json.ArrayOf(new JsonObject { ["id"] = "s", ["ref"] = secret });
            executions.Add(Jobs.Task(await Jobs.NewAsync(session, request)).Text("execution"));
        }

        if (executions.Count != 2)
        {
            throw new CheckFailedException("two jobs with secrets got one execution");
        }
    }

    /// <summary>Builds a request with the played node.</summary>
    private static async Task<(JsonNode Job, Item Image)> SucceededAsync(Session session, JsonObject request)
    {
        var node = await session.NodeAsync();
        var job = await Jobs.NewAsync(session, request);
        return (job, await (await node.ClaimAsync(job)).SucceedAsync());
    }

    private static void MustBeNew(JsonNode job)
    {
        if (
            job.Flag("done") || ((Jobs.Task(job) as JsonObject)?["cached"] is not null && Jobs.Task(job).Flag("cached"))
        )
        {
            throw new CheckFailedException($"job {job.Text("id")} was answered by a result that may not be its answer");
        }
    }

    private static JsonObject Document(string platform, string recipe) =>
        new()
        {
            ["v"] = 1,
            ["buildType"] = "dockerfile",
            ["recipe"] = Content.Sha256(Encoding.UTF8.GetBytes(recipe)),
            ["contexts"] = new JsonArray(),
            ["target"] = "",
            ["args"] = new JsonObject(),
            ["secrets"] = new JsonArray(),
            ["platform"] = platform,
            ["microarchitecture"] = "",
            ["format"] = "oci",
            ["options"] = new JsonObject
            {
                ["compression"] = "gzip",
                ["network"] = "isolated",
                ["sourceDate"] = "",
            },
        };

    private static async Task<string> DefaultNetworkAsync(Session session) =>
        (await session.InfoAsync()).Texts("networks").Contains("isolated", StringComparer.Ordinal)
            ? "isolated"
            : "none";

    // The engine is one of those of info, by name and major version; where there is none, it may be anything.
    private static async Task MustBeAsync(Session session, JsonNode job, JsonObject document)
    {
        // As it is now: that of the played node has come since.
        var engines = (await session.GetAsync("/v2/_build/v1/info")).Needed("info").Json().Texts("engines");
        if (engines.Count == 0)
        {
            throw new SkippedException("info names no engine, which is a part of the key");
        }

        var key = Jobs.Task(job).Text("key");
        foreach (var engine in engines)
        {
            var words = engine.Split(' ', 2);
            document["options"]!["engine"] = words.Length == 1 ? engine : $"{words[0]}/{words[1].Split('.')[0]}";
            if (BuildKey.Of(document) == key)
            {
                return;
            }
        }

        throw new CheckFailedException(
            $"the key is {key}, not {BuildKey.Of(document)} of {BuildKey.Canonical(document)}"
        );
    }
}
