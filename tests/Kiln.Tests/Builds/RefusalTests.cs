using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Inspect;

namespace Kiln.Tests.Builds;

/// <summary>What bad input gets: each its own code, status and a sentence that helps.</summary>
public sealed class RefusalTests
{
    private const string ZenTarget = ",\"targets\":[{\"platform\":\"linux/amd64\",\"microarchitecture\":\"zen3\"}]}";
    private const string Recipe = "\"recipe\":{\"mediaType\":\"text/x-dockerfile\",\"data\":\"RlJPTSBzY3JhdGNoCg==\"}";
    private const string Absent = "sha256:aedb89a5df3fa243d839e938028fd8ad1ac145c0d926e0fe07bd59515d554ac2";

    public static TheoryData<string, int, string, string> Requests =>
        new()
        {
            { "{", 400, "BUILD_REQUEST_INVALID", "not valid" },
            { "null", 400, "BUILD_REQUEST_INVALID", "null" },
            { "[1]", 400, "BUILD_REQUEST_INVALID", "not valid" },
            { "{}", 400, "BUILD_REQUEST_INVALID", "names no recipe" },
            { "{\"recipe\":{}}", 400, "BUILD_REQUEST_INVALID", "recipe is a digest" },
            { "{\"recipe\":{\"digest\":\"sha256:x\"}}", 400, "BUILD_REQUEST_INVALID", "not a sha256" },
            { "{" + Recipe + ",\"mustUnderstand\":[\"nosuch\"]}", 400, "BUILD_REQUEST_INVALID", "nosuch" },
            { "{" + Recipe + ",\"tags\":[\"a b\"]}", 400, "BUILD_REQUEST_INVALID", "not a tag" },
            { "{" + Recipe + ",\"targets\":[]}", 400, "BUILD_REQUEST_INVALID", "targets" },
            { "{" + Recipe + ",\"targets\":[{\"platform\":\"amd64\"}]}", 400, "BUILD_REQUEST_INVALID", "platform" },
            { "{" + Recipe + ",\"network\":\"lan\"}", 400, "BUILD_REQUEST_INVALID", "not a network" },
            { "{" + Recipe + ",\"network\":\"host\"}", 400, "BUILD_REQUEST_INVALID", "not to be had" },
            { "{" + Recipe + ",\"timeoutSeconds\":999999}", 400, "BUILD_REQUEST_INVALID", "may run 1 to 14400 s" },
            { "{" + Recipe + ",\"queueSeconds\":0}", 400, "BUILD_REQUEST_INVALID", "may wait" },
            { "{" + Recipe + ",\"cache\":{\"policy\":\"x\"}}", 400, "BUILD_REQUEST_INVALID", "cache policy" },
            { "{" + Recipe + ",\"args\":{\"A B\":\"\"}}", 400, "BUILD_REQUEST_INVALID", "build argument" },
            { "{\"recipe\":{\"tag\":\"x\"},\"contexts\":[]}", 400, "BUILD_REQUEST_INVALID", "contexts stand" },
            {
                "{" + Recipe + ",\"secrets\":[{\"id\":\"a b\",\"ref\":\"x\"}]}",
                400,
                "BUILD_REQUEST_INVALID",
                "secrets"
            },
            { "{" + Recipe + ",\"secrets\":[{\"id\":\"a\",\"ref\":\"x\"}]}", 404, "BUILD_SECRET_UNKNOWN", "'a'" },
            {
                "{" + Recipe + ",\"contexts\":[{\"mediaType\":\"x\",\"size\":1,\"digest\":\"" + Absent + "\"}]}",
                404,
                "MANIFEST_BLOB_UNKNOWN",
                "context blob"
            },
            { "{\"recipe\":{\"digest\":\"" + Absent + "\"}}", 404, "BUILD_RECIPE_UNKNOWN", "push it first" },
            { "{\"recipe\":{\"tag\":\"nothing\"}}", 404, "BUILD_RECIPE_UNKNOWN", "nothing" },
            { "{\"recipe\":{\"tag\":\"image\"}}", 422, "BUILD_RECIPE_INVALID", "no recipe" },
            {
                "{\"recipe\":{\"mediaType\":\"text/plain\",\"data\":\"\"}}",
                422,
                "BUILD_RECIPE_UNSUPPORTED",
                "text/plain"
            },
            {
                "{" + Recipe + ",\"targets\":[{\"platform\":\"linux/riscv64\"}]}",
                422,
                "BUILD_PLATFORM_UNSUPPORTED",
                "linux/amd64, linux/arm64"
            },
            { "{" + Recipe + ZenTarget, 422, "BUILD_PLATFORM_UNSUPPORTED", "zen3" },
            { "{" + Recipe + ",\"outputs\":[{\"format\":\"sif\"}]}", 422, "BUILD_OUTPUT_UNSUPPORTED", "sif" },
            {
                "{" + Recipe + ",\"outputs\":[{\"format\":\"oci\",\"compression\":\"xz\"}]}",
                422,
                "BUILD_OUTPUT_UNSUPPORTED",
                "gzip"
            },
            { "{" + Recipe + ",\"target\":\"nostage\"}", 422, "BUILD_RECIPE_INVALID", "nostage" },
        };

    [Stateless]
    [Theory]
    [MemberData(nameof(Requests))]
    public async Task A_refused_request_says_what_and_why(string body, int status, string code, string sentence)
    {
        await using var server = await BuildServer.StartAsync();
        await PushImageAsync(server);
        using var response = await PostJsonAsync(server, body);

        await AssertErrorAsync(response, status, code, sentence);
        Assert.Null(await server.Node.TryClaimAsync());
    }

    [Stateless]
    [Theory]
    [InlineData("?tag=a b", "FROM scratch\n", 400, "BUILD_REQUEST_INVALID", "not a tag")]
    [InlineData("?colour=red", "FROM scratch\n", 400, "BUILD_REQUEST_INVALID", "'colour' is not an option")]
    [InlineData("?timeout=soon", "FROM scratch\n", 400, "BUILD_REQUEST_INVALID", "whole number")]
    [InlineData("?target=a&target=b", "FROM scratch\n", 400, "BUILD_REQUEST_INVALID", "stands 2 times")]
    [InlineData("?platform=vax", "FROM scratch\n", 400, "BUILD_REQUEST_INVALID", "not a platform")]
    [InlineData("", "FROM scratch\nRUNN make\n", 422, "BUILD_RECIPE_INVALID", "line 2")]
    [InlineData("", "", 422, "BUILD_RECIPE_INVALID", "FROM")]
    public async Task A_refused_recipe_says_what_and_why(
        string query,
        string recipe,
        int status,
        string code,
        string sentence
    )
    {
        await using var server = await BuildServer.StartAsync();
        using var response = await server.PostAsync(query, recipe);

        await AssertErrorAsync(response, status, code, sentence);
    }

    [Fact]
    public async Task Types_sizes_names_and_unknown_jobs()
    {
        await using var server = await BuildServer.StartAsync(b =>
            b with
            {
                MaxRecipeBytes = 1000,
                MaxContextBytes = 100_000,
            }
        );
        using var form = await server.PostAsync("", type: "application/x-www-form-urlencoded");
        await AssertErrorAsync(form, 400, "BUILD_REQUEST_INVALID", "text/x-dockerfile");
        using var definition = await server.PostAsync("", "Bootstrap: docker\n", BuildMediaTypes.Singularity);
        await AssertErrorAsync(definition, 422, "BUILD_RECIPE_UNSUPPORTED", "supported: dockerfile");
        using var large = await server.PostAsync("", new string('#', 1001));
        await AssertErrorAsync(large, 413, "BUILD_REQUEST_INVALID", "1000 bytes");

        var bomb = await server.PushBlobAsync(
            new Tars().File("zeros", new string('0', 200_000)).Gzip(),
            BuildMediaTypes.Context
        );
        var context = JsonSerializer.Serialize(bomb, OciJson.Default.Descriptor);
        using var tooLarge = await PostJsonAsync(server, "{" + Recipe + ",\"contexts\":[" + context + "]}");
        await AssertErrorAsync(tooLarge, 413, "BUILD_CONTEXT_TOO_LARGE", "100000 bytes");

        using var job = await server.Http.GetAsync(BuildServer.JobUri("nothing"));
        await AssertErrorAsync(job, 404, "BUILD_UNKNOWN", "nothing");
        using var other = await server.Http.GetAsync(
            new Uri($"other/repo/_build/v1/jobs/{(await server.SubmitAsync("")).Id}", UriKind.Relative)
        );
        await AssertErrorAsync(other, 404, "BUILD_UNKNOWN", "other/repo");
        using var name = await server.Http.GetAsync(new Uri("Bad/_build/v1/jobs", UriKind.Relative));
        await AssertErrorAsync(name, 400, "NAME_INVALID", "Bad");
        using var put = await server.Http.PutAsync(BuildServer.JobUri("x"), content: null);
        await AssertErrorAsync(put, 405, "UNSUPPORTED", "PUT");
    }

    [Fact]
    public async Task A_secret_that_is_too_large_or_empty_is_refused()
    {
        await using var server = await BuildServer.StartAsync();
        var uri = new Uri($"{BuildServer.Repository}/_build/v1/secrets", UriKind.Relative);
        using var large = await server.Http.PostAsync(uri, new ByteArrayContent(new byte[(512 << 10) + 1]));
        await AssertErrorAsync(large, 413, "BUILD_SECRET_INVALID", "524288");
        using var empty = await server.Http.PostAsync(uri, new ByteArrayContent([]));
        await AssertErrorAsync(empty, 400, "BUILD_REQUEST_INVALID", "empty");
    }

    [Fact]
    public async Task A_tag_that_is_the_recipes_own_is_refused()
    {
        await using var server = await BuildServer.StartAsync();
        var annotations = new Dictionary<string, string> { [RecipeAnnotations.Trigger] = "none" };
        using var pushed = await server.PushRecipeAsync("mine", annotations, await server.RecipeLayerAsync());
        var digest = pushed.Headers.GetValues("Docker-Content-Digest").Single();

        using var byTag = await PostJsonAsync(server, "{\"recipe\":{\"tag\":\"mine\"},\"tags\":[\"mine\"]}");
        await AssertErrorAsync(byTag, 400, "BUILD_REQUEST_INVALID", "the recipe's own");
        using var byDigest = await PostJsonAsync(
            server,
            "{\"recipe\":{\"digest\":\"" + digest + "\"},\"tags\":[\"mine\"]}"
        );
        await AssertErrorAsync(byDigest, 400, "BUILD_REQUEST_INVALID", "the recipe's own");
    }

    [Fact]
    public async Task Too_many_jobs_are_429_with_a_time_to_come_again()
    {
        await using var server = await BuildServer.StartAsync(b => b with { MaxActiveJobs = 2 });
        await server.SubmitAsync("?arg.N=1");
        await server.SubmitAsync("?arg.N=2");
        using var refused = await server.PostAsync("?arg.N=3");

        await AssertErrorAsync(refused, 429, "TOOMANYREQUESTS", "2 jobs");
        Assert.NotNull(refused.Headers.RetryAfter);
        Assert.True((await server.PostAsync("?arg.N=1")).IsSuccessStatusCode, "what is shared costs nothing");
    }

    [Fact]
    public async Task Without_an_engine_the_registry_says_that_it_builds_nothing()
    {
        await using var server = await BuildServer.StartAsync();
        var info = await InfoAsync(server);
        Assert.Equal(["linux/amd64", "linux/arm64", "linux/amd64/v3"], info.Platforms);
        Assert.Equal(("on", null), (info.Trigger.OnPush, info.Unavailable));
        Assert.Equal(["buildah 1.28.2"], info.Engines);

        server.Offer(NodeAbilities.None("buildah is not installed"));
        info = await InfoAsync(server);
        Assert.Empty(info.Platforms);
        Assert.Equal("buildah is not installed", info.Unavailable);
        using var response = await server.PostAsync("?tag=1.0");
        await AssertErrorAsync(response, 403, "BUILD_DISABLED", "buildah is not installed");
    }

    [Fact]
    public async Task A_log_range_past_the_end_is_416()
    {
        await using var server = await BuildServer.StartAsync();
        var job = await server.SubmitAsync("");
        using var request = new HttpRequestMessage(HttpMethod.Get, BuildServer.JobUri(job.Id) + "/logs");
        request.Headers.Add("Range", "bytes=10-");
        using var response = await server.Http.SendAsync(request);

        await AssertErrorAsync(response, 416, "BUILD_LOG_RANGE_INVALID", "0 bytes so far");
    }

    private static async Task<BuildInfo> InfoAsync(BuildServer server)
    {
        var whole = await server.Http.GetStringAsync(new Uri("_build/v1/info", UriKind.Relative));
        var own = await server.Http.GetStringAsync(new Uri("hpc/app/_build/v1/info", UriKind.Relative));
        Assert.Equal(whole, own);
        return JsonSerializer.Deserialize(whole, BuildJson.Default.BuildInfo)!;
    }

    private static async Task PushImageAsync(BuildServer server)
    {
        var config = await server.PushBlobAsync("{}"u8.ToArray(), MediaTypes.OciConfig);
        var manifest = new ImageManifest { Config = config, Layers = [] };
        using var body = new ByteArrayContent(
            JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest)
        );
        body.Headers.ContentType = new(MediaTypes.OciManifest);
        using var response = await server.Http.PutAsync(
            new Uri($"{BuildServer.Repository}/manifests/image", UriKind.Relative),
            body
        );
        Assert.True(response.IsSuccessStatusCode);
    }

    private static Task<HttpResponseMessage> PostJsonAsync(BuildServer server, string body)
    {
        var content = new StringContent(body, Encoding.UTF8, BuildMediaTypes.Request);
        return server.Http.PostAsync(new Uri($"{BuildServer.Repository}/_build/v1/jobs", UriKind.Relative), content);
    }

    internal static async Task AssertErrorAsync(HttpResponseMessage response, int status, string code, string sentence)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, $"{(int)response.StatusCode}: {body}");
        Assert.Equal("application/json", response.Content.Headers.ContentType!.ToString());
        using var document = JsonDocument.Parse(body);
        var error = document.RootElement.GetProperty("errors")[0];
        Assert.Equal(code, error.GetProperty("code").GetString());
        Assert.Contains(sentence, error.GetProperty("message").GetString());
    }
}
