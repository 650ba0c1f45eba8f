using System.Net;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Builds;

/// <summary>What is built where: by levels and micro-architectures that one machine runs and another does not.</summary>
public sealed class ArchitectureTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Node_of_a_level_builds_for_the_levels_below_it()
    {
        await using var server = await BuildServer.StartAsync();
        await server.SubmitAsync("?platform=linux/amd64/v3");
        var node = new WireNode(server.Http);
        using (var low = await node.ClaimAsync(offer: Offer("linux/amd64/v2")))
        {
            Assert.Equal(HttpStatusCode.NoContent, low.StatusCode);
        }

        using var high = await node.ClaimAsync(offer: Offer("linux/amd64/v4"));
        Assert.Equal(HttpStatusCode.Created, high.StatusCode);
        var task = JsonNode.Parse(await high.Content.ReadAsStringAsync(Cancel))!["task"]!;
        Assert.Equal("v3", (string?)task["platform"]!["variant"]);
        Assert.Equal("x86_64_v3", (string?)task["microarchitecture"]);
    }

    [Fact]
    public async Task Micro_architecture_is_had_where_a_node_says_one_that_runs_it()
    {
        await using var server = await BuildServer.StartAsync();
        using (var refused = await server.PostAsync("?microarchitecture=zen3"))
        {
            await refused.ShouldFailAsync(422, "BUILD_PLATFORM_UNSUPPORTED");
            Assert.Contains("nearest", await refused.Content.ReadAsStringAsync(Cancel), StringComparison.Ordinal);
        }

        var wire = new WireNode(server.Http);
        using (var known = await wire.ClaimAsync(offer: Offer("linux/amd64/v4", "zen4")))
        {
            Assert.Equal(HttpStatusCode.NoContent, known.StatusCode);
        }

        var job = await server.SubmitAsync("?tag=1.0&microarchitecture=zen3&platform=linux/amd64,linux/amd64/v3");
        Assert.Equal(["linux/amd64", "linux/amd64/v3", "linux/amd64/v3"], job.Tasks.Select(t => t.Platform));
        foreach (var less in new[] { Claim("linux/amd64/v4"), Claim("linux/amd64/v3", "zen2") })
        {
            // They get the other two.
            Assert.NotEqual("zen3", (await server.Node.TryClaimAsync(less))!.Task.Microarchitecture);
        }

        Assert.Null(await server.Node.TryClaimAsync(Claim("linux/amd64/v4", "zen2")));
        var lease = await server.Node.TryClaimAsync(Claim("linux/amd64/v4", "zen4"));
        Assert.Equal("zen3", lease!.Task.Microarchitecture);
    }

    [Fact]
    public async Task Index_has_the_generic_image_first_and_the_most_special_last_each_with_its_name()
    {
        await using var server = await BuildServer.StartAsync();
        using (await new WireNode(server.Http).ClaimAsync(offer: Offer("linux/amd64/v3", "zen3"))) { }

        var body = new JsonObject
        {
            ["recipe"] = new JsonObject
            {
                ["mediaType"] = BuildMediaTypes.Dockerfile,
                ["data"] = Convert.ToBase64String("FROM scratch\n"u8),
            },
            ["tags"] = new JsonArray("1.0"),
            ["targets"] = new JsonArray(
                new JsonObject { ["platform"] = "linux/amd64", ["microarchitecture"] = "zen3" },
                new JsonObject { ["platform"] = "linux/amd64/v3" },
                new JsonObject { ["platform"] = "linux/arm64" },
                new JsonObject { ["platform"] = "linux/amd64" }
            ),
        };
        using var content = new StringContent(body.ToJsonString(), null, "application/json");
        using var accepted = await server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/jobs", UriKind.Relative),
            content,
            Cancel
        );
        Assert.Equal(HttpStatusCode.Accepted, accepted.StatusCode);
        for (var i = 0; i < 4; i++)
        {
            var lease = await server.Node.TryClaimAsync(
                Claim("linux/amd64/v3", "zen3") with
                {
                    Platforms = ["linux/amd64/v3", "linux/arm64"],
                }
            );
            await server.Node.SucceedAsync(lease!, $"for {lease!.Task.Platform} {lease.Task.Microarchitecture}");
        }

        var index = await server.TagAsync("1.0");
        Assert.Equal(
            ["linux/arm64 ", "linux/amd64 ", "linux/amd64/v3 x86_64_v3", "linux/amd64/v3 zen3"],
            index!.Manifests.Select(m => $"{m.Platform} {m.Annotations?.GetValueOrDefault("io.archspec.cpu.target")}")
        );
    }

    [Stateless]
    [Theory]
    [InlineData("platform=linux/amd64/v4", "linux/amd64/v3")]
    [InlineData("platform=linux/s390x", "a node of linux/s390x is needed")]
    [InlineData("microarchitecture=zen4", "linux/amd64/v3")]
    [InlineData("microarchitecture=neoverse_v1", "does not say what it is beyond that")]
    public async Task What_nobody_builds_is_refused_with_the_nearest_node_and_what_it_lacks(string query, string lack)
    {
        await using var server = await BuildServer.StartAsync();
        using var refused = await server.PostAsync("?" + query);
        await refused.ShouldFailAsync(422, "BUILD_PLATFORM_UNSUPPORTED");
        var said = await refused.Content.ReadAsStringAsync(Cancel);
        Assert.Contains("the nearest is the registry itself", said, StringComparison.Ordinal);
        Assert.Contains(lack, said, StringComparison.Ordinal);
    }

    [Stateless]
    [Theory]
    [InlineData("""{"network":"none"}""", "the nearest is two, which has the networks isolated and not none")]
    [InlineData(
        """{"backend":{"partition":"gpux"}}""",
        "does not take the backend's partition=gpux, but partition=build, partition=gpu"
    )]
    [InlineData("""{"backend":{"qos":"high"}}""", "does not take the backend's qos=high")]
    [InlineData(
        """{"backend":{"partition":"gpu"},"resources":{"cpus":8}}""",
        "has 4 of resources.cpus where 8 is asked for"
    )]
    public async Task What_nodes_have_only_between_them_is_refused_before_it_waits(string asked, string lack)
    {
        await using var server = await BuildServer.StartAsync();
        server.Offer(NodeAbilities.None("it builds nothing itself"));
        var wire = new WireNode(server.Http);
        var one = JsonNode.Parse(Offer("linux/amd64"))!;
        one["networks"] = new JsonArray("isolated", "none");
        one["resources"] = new JsonObject { ["cpus"] = 8 };
        var two = JsonNode.Parse(Offer("linux/arm64"))!;
        two["node"] = "two";
        two["networks"] = new JsonArray("isolated");
        two["types"] = new JsonArray(
            new JsonObject
            {
                ["resources"] = new JsonObject { ["cpus"] = 4 },
                ["backend"] = new JsonObject { ["partition"] = new JsonArray("build", "gpu") },
            }
        );
        foreach (var offer in new[] { one, two })
        {
            using var nothing = await wire.ClaimAsync(offer: offer.ToJsonString());
            Assert.Equal(HttpStatusCode.NoContent, nothing.StatusCode);
        }

        using var refused = await AskAsync(server, asked, "linux/arm64");

        await refused.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
        Assert.Contains(lack, await MessageAsync(refused), StringComparison.Ordinal);
    }

    // A node without types is there, which would build it and hear nothing.
    [Fact]
    public async Task A_value_that_no_node_takes_of_a_word_that_some_know_is_refused()
    {
        await using var server = await BuildServer.StartAsync();
        var cluster = JsonNode.Parse(Offer("linux/amd64"))!;
        cluster["node"] = "cluster";
        cluster["types"] = new JsonArray(
            new JsonObject { ["backend"] = new JsonObject { ["partition"] = new JsonArray("build", "gpu") } }
        );
        using var nothing = await new WireNode(server.Http).ClaimAsync(offer: cluster.ToJsonString());

        using var refused = await AskAsync(server, """{"backend":{"partition":"gpux"}}""", "linux/amd64");
        await refused.ShouldFailAsync(400, "BUILD_REQUEST_INVALID");
        Assert.Equal(
            "no build node here takes the backend's partition=gpux: cluster takes partition=build, partition=gpu",
            await MessageAsync(refused)
        );
        foreach (var asked in new[] { """{"backend":{"partition":"gpu"}}""", """{"backend":{"qos":"high"}}""" })
        {
            using var taken = await AskAsync(server, asked, "linux/amd64");
            Assert.Equal(HttpStatusCode.Accepted, taken.StatusCode);
        }
    }

    private static async Task<string> MessageAsync(HttpResponseMessage answer) =>
        (string)JsonNode.Parse(await answer.Content.ReadAsStringAsync(Cancel))!["errors"]![0]!["message"]!;

    private static async Task<HttpResponseMessage> AskAsync(BuildServer server, string asked, string platform)
    {
        var body = JsonNode.Parse(asked)!;
        body["recipe"] = new JsonObject
        {
            ["mediaType"] = BuildMediaTypes.Dockerfile,
            ["data"] = Convert.ToBase64String("FROM scratch\n"u8),
        };
        body["targets"] = new JsonArray(new JsonObject { ["platform"] = platform });
        using var content = new StringContent(body.ToJsonString(), null, "application/json");
        return await server.Http.PostAsync(
            new Uri($"{BuildServer.Repository}/_build/v1/jobs", UriKind.Relative),
            content,
            Cancel
        );
    }

    private static string Offer(string platform, string? micro = null) =>
        new JsonObject
        {
            ["node"] = "n",
            ["platforms"] = new JsonArray(platform),
            ["microarchitectures"] = micro is null ? null : new JsonArray(micro),
            ["recipes"] = new JsonArray("dockerfile"),
            ["outputs"] = new JsonArray("oci"),
        }.ToJsonString();

    private static LeaseClaim Claim(string platform, string? micro = null) =>
        new()
        {
            Node = "n",
            Platforms = [platform],
            Microarchitectures = micro is null ? null : [micro],
            Recipes = [RecipeTypes.Dockerfile],
            Outputs = [BuildOutput.Oci],
        };
}
