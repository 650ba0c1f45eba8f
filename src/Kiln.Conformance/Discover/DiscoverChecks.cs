using System.Text.Json.Nodes;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance.Discover;

/// <summary>What a registry says of itself: bld-0 and bld-1 of the <c>_build</c> extension.</summary>
internal static class DiscoverChecks
{
    private const string Info = "/v2/_build/v1/info";
    private const string Discover = "/v2/_oci/ext/discover";

    private static readonly string[] Limits =
    [
        "maxWaitSeconds",
        "maxJobSeconds",
        "maxQueueSeconds",
        "maxContextBytes",
        "maxInlineRecipeBytes",
        "maxLogBytes",
    ];

    public static IReadOnlyList<Check> All { get; } =
    [
        new("discover.extensions", "the list of extensions has _build", "D-1", ExtensionsAsync),
        new("discover.repository", "so it has in a repository", "D-1", RepositoryAsync),
        new("discover.info", "info has its media type and version", "D-2", InfoAsync),
        new("discover.info-repository", "info of a repository", "D-2", RepositoryInfoAsync),
        new("discover.info-members", "info says what is built here", "D-2", MembersAsync),
        new("discover.info-limits", "info has all limits", "D-2", LimitsAsync),
        new("discover.info-lease", "info says how leases are given", "D-2", LeaseAsync),
        new("discover.info-pull-build", "info says how long pulls are held", "D-2", PullBuildAsync),
        new("discover.unavailable", "where nothing is built, a sentence says why", "D-3", UnavailableAsync),
        new("discover.head", "HEAD is answered as GET is", "G-2", HeadAsync),
        new("discover.accept", "who accepts application/json only gets that", "G-3", AcceptAsync),
        new("discover.no-nulls", "members without a value are absent", "G-5", NoNullsAsync),
        new("discover.errors", "an address that is not there gets an error in its form", "G-1", ErrorsAsync),
    ];

    private static async Task ExtensionsAsync(Session session) => MustListBuild(await ExistsAsync(session, Discover));

    private static async Task RepositoryAsync(Session session)
    {
        await ExistsAsync(session, Discover);
        await session.PushArtifactAsync();
        MustListBuild(await session.GetAsync(session.At("_oci/ext/discover")));
    }

    private static async Task InfoAsync(Session session)
    {
        var answer = (await ExistsAsync(session, Info)).Must(200).MustBe(Types.Info);
        answer.Json().MustHave("specVersion", "1.0.0");
    }

    private static async Task RepositoryInfoAsync(Session session)
    {
        await ExistsAsync(session, Info);
        await session.PushArtifactAsync();
        var answer = (await session.GetAsync(session.At("_build/v1/info"))).Must(200).MustBe(Types.Info);
        answer.Json().MustHave("specVersion", "1.0.0");
        MustBeTrigger(answer.Json());
    }

    private static async Task MembersAsync(Session session)
    {
        var info = (await ExistsAsync(session, Info)).Must(200).Json();
        if (!info.Texts("categories").Contains(Categories.Discover, StringComparer.Ordinal))
        {
            throw new CheckFailedException("'categories' has no 'discover'");
        }

        foreach (var recipe in info.Items("recipes"))
        {
            recipe.Text("type");
            if (recipe.Texts("mediaTypes").Count == 0)
            {
                throw new CheckFailedException($"the recipes of type {recipe.Text("type")} have no media type");
            }
        }

        foreach (var list in new[] { "platforms", "outputs", "engines", "networks" })
        {
            info.Texts(list);
        }

        MustBeTrigger(info);
    }

    private static async Task LimitsAsync(Session session)
    {
        var limits = (await ExistsAsync(session, Info)).Must(200).Json().Member("limits");
        foreach (var limit in Limits)
        {
            if (limits.Number(limit) < 0)
            {
                throw new CheckFailedException($"limits.{limit} is {limits.Number(limit)}");
            }
        }
    }

    private static async Task LeaseAsync(Session session)
    {
        var info = (await ExistsAsync(session, Info)).Must(200).Json();
        Require(info, Categories.Node);
        foreach (var member in new[] { "defaultSeconds", "maxSeconds", "maxAttempts" })
        {
            if (info.Member("lease").Number(member) < 1)
            {
                throw new CheckFailedException($"lease.{member} is less than 1");
            }
        }
    }

    private static async Task PullBuildAsync(Session session)
    {
        var info = (await ExistsAsync(session, Info)).Must(200).Json();
        Require(info, Categories.PullBuild);
        info.Member("pullBuild").Flag("enabled");
        info.Member("pullBuild").Number("holdSeconds");
    }

    private static async Task UnavailableAsync(Session session)
    {
        var info = (await ExistsAsync(session, Info)).Must(200).Json();
        if (info.Texts("platforms").Count > 0)
        {
            throw new SkippedException("something is built here");
        }

        info.Text("unavailable");
    }

    private static async Task HeadAsync(Session session)
    {
        foreach (var path in new[] { Discover, Info })
        {
            await ExistsAsync(session, path);
            var answer = (await session.HeadAsync(path)).Must(200);
            if (answer.Body.Length > 0)
            {
                throw answer.Failure("has a body");
            }
        }
    }

    private static async Task AcceptAsync(Session session)
    {
        await ExistsAsync(session, Info);
        var answer = await session.SendAsync(new Call("GET", Info).With("Accept", "application/json"));
        answer.Must(200).MustBe("application/json");
    }

    private static async Task NoNullsAsync(Session session)
    {
        var info = (await ExistsAsync(session, Info)).Must(200).Json();
        if (Json.NullIn(info) is { } path)
        {
            throw new CheckFailedException($"{path} is null");
        }
    }

    private static async Task ErrorsAsync(Session session)
    {
        await ExistsAsync(session, Info);
        var answer = await session.GetAsync("/v2/_build/v1/none-" + Session.Unique());
        answer.Must(404).MustBeEnvelope();
    }

    // A registry that has neither does not have the extension, and that is no failure (D-4).
    private static async Task<Answer> ExistsAsync(Session session, string path)
    {
        var answer = await session.GetAsync(path);
        if (answer.Status != 404)
        {
            return answer;
        }

        var other = await session.GetAsync(path == Info ? Discover : Info);
        return other.Status == 404 || (path == Info && !other.Text.Contains("\"_build\"", StringComparison.Ordinal))
            ? throw new UnsupportedException("the registry has no _build extension")
            : answer.Must(200);
    }

    private static void MustListBuild(Answer answer)
    {
        var extensions = answer.Must(200).Json().Items("extensions");
        var build = extensions.FirstOrDefault(extension => extension.MaybeText("name") == "_build");
        if (build is null)
        {
            throw answer.Failure("lists no extension _build");
        }

        build.Text("url");
        var endpoints = build.Texts("endpoints");
        foreach (var endpoint in new[] { "_build/v1/info" })
        {
            if (!endpoints.Any(e => e.EndsWith(endpoint, StringComparison.Ordinal)))
            {
                throw answer.Failure($"lists no endpoint {endpoint}");
            }
        }
    }

    private static void MustBeTrigger(JsonNode info)
    {
        if (info.Member("trigger").Text("onPush") is var word && word is not ("on" or "off" or "opt-in"))
        {
            throw new CheckFailedException($"trigger.onPush is '{word}', not on, off or opt-in");
        }
    }

    private static void Require(JsonNode info, string category)
    {
        if (!info.Texts("categories").Contains(category, StringComparer.Ordinal))
        {
            throw new UnsupportedException($"info does not list the category '{category}'");
        }
    }
}
