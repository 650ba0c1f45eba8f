using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Server.Metadata;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>What a build needs: refused where nobody has it, kept from nodes that have less, no part of the key.</summary>
public sealed class ResourceTests
{
    private const string Offer =
        """{"node":"n","platforms":["linux/amd64"],"recipes":["dockerfile"],"outputs":["oci"]RESOURCES}""";

    private static readonly JsonObject Needs = new()
    {
        ["cpus"] = 4,
        ["memoryBytes"] = 2L << 30,
        ["diskBytes"] = 1L << 30,
    };

    [Fact]
    public async Task A_node_gets_only_what_fits_and_is_told_of_it()
    {
        await using var server = await BuildServer.StartAsync();
        var backend = new JsonObject { ["partition"] = "short", ["account"] = "a \"b\" ü" };
        using var asked = await SubmitAsync(server, Needs, backend);
        Assert.Equal(HttpStatusCode.Accepted, asked.StatusCode);
        var node = new WireNode(server.Http);

        foreach (
            var less in new[]
            {
                "",
                ""","resources":{}""",
                ""","resources":{"cpus":4,"memoryBytes":2147483648}""",
                ""","resources":{"cpus":3,"memoryBytes":2147483648,"diskBytes":1073741824}""",
                ""","resources":{"cpus":4,"memoryBytes":2147483647,"diskBytes":1073741824,"gpus":8}""",
            }
        )
        {
            using var nothing = await node.ClaimAsync(offer: Offer.Replace("RESOURCES", less));
            Assert.Equal(HttpStatusCode.NoContent, nothing.StatusCode);
        }

        using var wrong = await node.ClaimAsync(offer: Offer.Replace("RESOURCES", ""","resources":{"cpus":-1}"""));
        await wrong.ShouldFailAsync(400, BuildErrors.RequestInvalid.Code);
        const string enough = ""","resources":{"cpus":4,"memoryBytes":2147483648,"diskBytes":1073741824}""";
        using var claimed = await node.ClaimAsync(offer: Offer.Replace("RESOURCES", enough));
        Assert.Equal(HttpStatusCode.Created, claimed.StatusCode);
        var task = JsonNode.Parse(await claimed.Content.ReadAsStringAsync())!["task"]!;
        Assert.True(JsonNode.DeepEquals(Needs, task["resources"]), task.ToJsonString());
        Assert.True(JsonNode.DeepEquals(backend, task["backend"]), task.ToJsonString());
    }

    [Theory]
    // Each type is what it is by itself: one with the memory, and another that is heard, are not one with both.
    [InlineData(
        """{"resources":{"cpus":8,"memoryBytes":4294967296,"diskBytes":1073741824},"backend":{"partition":["short"]}}""",
        true
    )]
    [InlineData(
        """{"resources":{"cpus":8,"memoryBytes":4294967296,"diskBytes":1073741824},"backend":{"partition":["*"]}}""",
        true
    )]
    [InlineData(
        """{"resources":{"cpus":8,"memoryBytes":4294967296,"diskBytes":1073741824},"backend":{"partition":["long"]}}""",
        false
    )]
    [InlineData(
        """{"resources":{"cpus":8,"memoryBytes":4294967296,"diskBytes":1073741824},"backend":{"account":["short"]}}""",
        false
    )]
    [InlineData("""{"resources":{"cpus":8,"memoryBytes":4294967296,"diskBytes":1073741824}}""", false)]
    [InlineData("""{"resources":{"cpus":2},"backend":{"partition":["short"]}}""", false)]
    [InlineData("""{"backend":{"partition":["short"]}}""", true)]
    [InlineData("""{"platforms":["linux/arm64"],"backend":{"partition":["short"]}}""", false)]
    [InlineData("""{"networks":["none"],"backend":{"partition":["short"]}}""", false)]
    public async Task A_node_of_several_types_gets_what_fits_one_of_them(string type, bool fits)
    {
        await using var server = await BuildServer.StartAsync();
        using var asked = await SubmitAsync(server, Needs, new JsonObject { ["partition"] = "short" });
        Assert.Equal(HttpStatusCode.Accepted, asked.StatusCode);
        const string most =
            ""","resources":{"cpus":8,"memoryBytes":8589934592,"diskBytes":1073741824},"types":[{"backend":{},"resources":{"cpus":8,"memoryBytes":8589934592,"diskBytes":1073741824}},""";

        using var answer = await new WireNode(server.Http).ClaimAsync(
            offer: Offer.Replace("RESOURCES", $"{most}{type}]")
        );

        Assert.Equal(fits ? HttpStatusCode.Created : HttpStatusCode.NoContent, answer.StatusCode);
    }

    [Fact]
    public async Task Words_that_a_node_does_not_hear_keep_nobody_from_it()
    {
        await using var server = await BuildServer.StartAsync();
        using var strange = await SubmitAsync(server, null, new JsonObject { ["queue"] = "1" });
        await CrowdAsync(server);
        using var asked = await SubmitAsync(
            server,
            new JsonObject { ["cpus"] = 1 },
            new JsonObject { ["account"] = "a \"b\" ü", ["partition"] = "short" }
        );
        Assert.Equal(HttpStatusCode.Accepted, asked.StatusCode);
        const string types =
            ""","resources":{"cpus":8},"types":[{"backend":{"partition":["long"]}},{"backend":{"partition":["short"],"account":["*"]}},{}]""";

        using var answer = await new WireNode(server.Http).ClaimAsync(offer: Offer.Replace("RESOURCES", types));

        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        var task = JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["task"]!;
        Assert.Equal("short", (string?)task["backend"]!["partition"]);
    }

    // Makes many of the one execution that there is, each with words of its own that no other has: some with names, some
    // with values that nobody hears.
    private static Task CrowdAsync(BuildServer server) =>
        server
            .Services.GetRequiredService<Database>()
            .WriteAsync(
                transaction =>
                    transaction.Run(
                        """
                        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
                        INSERT INTO executions (id, repository, key, shareable, requested_by, platform, recipe_type, format,
                            task, state, queued, queue_deadline, backend)
                        SELECT 'aa' || n.i, e.repository, 'k' || n.i, 0, 'mallory', e.platform, e.recipe_type, e.format,
                            e.task, e.state, e.queued - 1000, e.queue_deadline,
                            CASE n.i % 2 WHEN 0 THEN '{"partition":"' || n.i || '"}' ELSE '{"queue":"' || n.i || '"}' END
                        FROM executions e CROSS JOIN n
                        """
                    ),
                TestContext.Current.CancellationToken
            );

    [Stateless]
    [Theory]
    [InlineData("[]")]
    [InlineData("[null]")]
    [InlineData("7")]
    [InlineData("""[{"platforms":["linux"]}]""")]
    [InlineData("""[{"resources":{"cpus":-1}}]""")]
    [InlineData("""[{"backend":{"partition":[""]}}]""")]
    [InlineData("""[{"backend":{"partition":null}}]""")]
    [InlineData("""[{"backend":{"partition":"short"}}]""")]
    public async Task Types_that_are_none_are_refused(string types)
    {
        await using var server = await BuildServer.StartAsync();
        using var wrong = await new WireNode(server.Http).ClaimAsync(
            offer: Offer.Replace("RESOURCES", $""","types":{types}""")
        );
        await wrong.ShouldFailAsync(400, BuildErrors.RequestInvalid.Code);
    }

    [Stateless]
    [Theory]
    [InlineData("""{"cpus":0}""", "resources.cpus is a number, 1 or more")]
    [InlineData("""{"memoryBytes":-5}""", "resources.memoryBytes is a number, 1 or more")]
    [InlineData("""{"cpus":9}""", "resources.cpus is 9, and 8 is the most")]
    [InlineData("""{"gpus":1}""", "resources.gpus is 1, and 0 is the most")]
    [InlineData("""{"memoryBytes":99999999999999}""", "resources.memoryBytes is 99999999999999")]
    [InlineData("""{"cpus":1.5}""", "not valid")]
    [InlineData("""{"cpus":"all"}""", "not valid")]
    [InlineData("7", "not valid")]
    public async Task What_nobody_has_or_nobody_can_have_is_refused(string resources, string why)
    {
        await using var server = await BuildServer.StartAsync();
        using var refused = await SubmitAsync(server, JsonNode.Parse(resources)!, null);

        Assert.Contains(why, await refused.Content.ReadAsStringAsync());
        await refused.ShouldFailAsync(400, BuildErrors.RequestInvalid.Code);
    }

    [Fact]
    public async Task Parameters_of_a_back_end_are_bounded()
    {
        await using var server = await BuildServer.StartAsync();
        var many = new JsonObject(
            Enumerable.Range(0, 33).Select(i => KeyValuePair.Create<string, JsonNode?>($"n{i}", "v"))
        );
        foreach (
            var wrong in new JsonNode[]
            {
                many,
                new JsonObject { ["n"] = new string('x', 256) },
                new JsonObject { [""] = "x" },
                new JsonObject { ["n"] = "a\nb" },
                new JsonObject { ["n"] = null },
                new JsonObject { ["n"] = 7 },
                new JsonArray("n"),
            }
        )
        {
            using var refused = await SubmitAsync(server, null, wrong);
            await refused.ShouldFailAsync(400, BuildErrors.RequestInvalid.Code);
        }

        using var most = await SubmitAsync(server, null, new JsonObject { ["n"] = new string('x', 255) });
        Assert.Equal(HttpStatusCode.Accepted, most.StatusCode);
    }

    [Fact]
    public async Task Info_says_the_most_that_there_is_of_any_node()
    {
        await using var server = await BuildServer.StartAsync();
        const string large = ""","resources":{"cpus":2,"memoryBytes":999999999999,"gpus":4}""";
        using var claimed = await new WireNode(server.Http).ClaimAsync(offer: Offer.Replace("RESOURCES", large));

        var limits = (await server.Http.GetJsonAsync("_build/v1/info"))["limits"]!;
        Assert.Equal(
            (8, 999_999_999_999, 40L << 30, 4),
            (
                (int)limits["maxCpus"]!,
                (long)limits["maxMemoryBytes"]!,
                (long)limits["maxDiskBytes"]!,
                (int)limits["maxGpus"]!
            )
        );
    }

    [Fact]
    public async Task Resources_are_no_part_of_the_key_and_nobody_joins_a_build_with_less()
    {
        await using var server = await BuildServer.StartAsync();
        var none = await JobAsync(server, null);
        var small = await JobAsync(server, new JsonObject { ["cpus"] = 2 });
        var large = await JobAsync(server, new JsonObject { ["cpus"] = 4 });
        var joins = await JobAsync(server, new JsonObject { ["cpus"] = 3 });

        Assert.Single(new[] { none, small, large, joins }.Select(j => j.Tasks[0].Key).Distinct());
        Assert.Equal(3, new[] { none, small, large }.Select(j => j.Tasks[0].Execution).Distinct().Count());
        Assert.Equal(large.Tasks[0].Execution, joins.Tasks[0].Execution);
    }

    private static async Task<Job> JobAsync(BuildServer server, JsonNode? resources)
    {
        using var response = await SubmitAsync(server, resources, null);
        return await BuildServer.ReadAsync(response);
    }

    private static Task<HttpResponseMessage> SubmitAsync(BuildServer server, JsonNode? resources, JsonNode? backend)
    {
        var request = new JsonObject
        {
            ["recipe"] = new JsonObject
            {
                ["mediaType"] = BuildMediaTypes.Dockerfile,
                ["data"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(BuildServer.Containerfile)),
            },
        };
        if (resources is not null)
        {
            request["resources"] = resources.DeepClone();
        }

        if (backend is not null)
        {
            request["backend"] = backend.DeepClone();
        }

        return server.Http.SendAsync(
            "POST",
            $"{BuildServer.Repository}/_build/v1/jobs",
            request.Encode(),
            BuildMediaTypes.Request
        );
    }
}
