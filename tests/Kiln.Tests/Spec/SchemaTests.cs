using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Tests.Builds;
using Kiln.Tests.Conformance;
using Kiln.Tests.Delivery;
using Kiln.Tests.Registry;

namespace Kiln.Tests.Spec;

/// <summary>What the specification's files say is what the server takes and gives.</summary>
public sealed class SchemaTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Examples => [.. Schemas.Names(Schemas.Examples)];

    [Theory]
    [MemberData(nameof(Examples))]
    public void An_example_is_valid(string example) =>
        Assert.Empty(Schemas.Faults(Schemas.Of(example), Example(example)));

    /// <summary>A schema that cannot fail would say nothing.</summary>
    [Theory]
    [MemberData(nameof(Examples))]
    public void An_example_is_not_valid_without_a_member_that_has_to_be_there(string example)
    {
        var schema = JsonNode.Parse(File.ReadAllText(Path.Combine(Schemas.Folder, Schemas.Of(example) + ".json")))!;
        foreach (var member in schema["required"]?.AsArray() ?? [])
        {
            var broken = JsonNode.Parse(Example(example))!.AsObject();
            broken.Remove((string)member!);
            Assert.NotEmpty(Schemas.Faults(Schemas.Of(example), broken.ToJsonString()));
        }

        foreach (var (name, _) in JsonNode.Parse(Example(example))!.AsObject())
        {
            var broken = JsonNode.Parse(Example(example))!.AsObject();
            broken[name] = null;
            Assert.NotEmpty(Schemas.Faults(Schemas.Of(example), broken.ToJsonString()));
        }
    }

    [Fact]
    public void Every_schema_has_an_example() =>
        Assert.Equal(
            Schemas.Names(Schemas.Folder).Where(name => name != "common"),
            Schemas.Names(Schemas.Examples).Select(Schemas.Of).Distinct().Order(StringComparer.Ordinal)
        );

    [Fact]
    public async Task Examples_of_requests_are_taken_and_answered_as_the_schemas_say()
    {
        await using var server = await ConformanceServer.StartAsync();
        await ShouldBeAsync("info", await server.Http.GetAsync(Uri("_build/v1/info")));
        await ShouldBeAsync("info", await server.Http.GetAsync(Uri("hpc/app/_build/v1/info")));
        await ShouldBeAsync("extensions", await server.Http.GetAsync(Uri("_oci/ext/discover")));
        await ShouldBeAsync(
            "error",
            await server.Http.GetAsync(Uri("hpc/app/_build/v1/jobs/none")),
            HttpStatusCode.NotFound
        );
        foreach (var example in Schemas.Names(Schemas.Examples).Where(name => Schemas.Of(name) == "request"))
        {
            var answer = await PostAsync(server, "hpc/app/_build/v1/jobs", Example(example), BuildMediaTypes.Request);
            await ShouldBeAsync("job", answer, HttpStatusCode.Accepted);
        }

        await ShouldBeAsync("jobs", await server.Http.GetAsync(Uri("hpc/app/_build/v1/jobs")));
        var secret = await PostAsync(server, "hpc/app/_build/v1/secrets", "swordfish", "application/octet-stream");
        await ShouldBeAsync("secret", secret, HttpStatusCode.Created);
    }

    [Fact]
    public async Task Examples_of_a_node_are_taken_and_answered_as_the_schemas_say()
    {
        await using var server = await ConformanceServer.StartAsync();
        var node = new WireNode(server.Http);
        var ended = new List<string>();
        foreach (var end in new[] { "result-succeeded", "result-least", "result-failed", "result-canceled" })
        {
            await server.SubmitAsync($"?tag=1.0&arg.END={end}");
            var claim = end == "result-least" ? "claim-least" : "claim";
            using var claimed = await node.ClaimAsync(offer: Example(claim));
            var text = await ShouldBeAsync("lease", claimed, HttpStatusCode.Created);
            var lease = new WireLease(node, claimed.Headers.Location!.ToString(), JsonNode.Parse(text)!);
            await ShouldBeAsync("heartbeat-answer", await lease.BeatAsync(Example("heartbeat")));
            var result = JsonNode.Parse(Example(end))!;
            if (result["manifest"] is not null)
            {
                var image = await lease.ImageAsync("hello");
                var digest = Kiln.Oci.Digest.Of(image);
                using var pushed = await lease.PutManifestAsync(digest.ToString(), image);
                result["manifest"]!["digest"] = digest.ToString();
                result["manifest"]!["size"] = image.Length;
            }

            await ShouldBeAsync("result-answer", await lease.ResultAsync(result.ToJsonString()));
            ended.Add(text);
        }

        var jobs = await ShouldBeAsync("jobs", await server.Http.GetAsync(Uri("hpc/app/_build/v1/jobs")));
        // One has succeeded, with all that a node says of its build; one has failed.
        Assert.Equal(4, ended.Count);
        Assert.Contains("\"succeeded\"", jobs);
        Assert.Contains("\"failed\"", jobs);
        foreach (var job in JsonNode.Parse(jobs)!["jobs"]!.AsArray())
        {
            await ShouldBeAsync("job", await server.Http.GetAsync(Uri($"hpc/app/_build/v1/jobs/{job!["id"]}")));
        }
    }

    [Fact]
    public async Task Examples_of_hooks_are_taken_and_events_are_as_the_schema_says()
    {
        await using var receiver = await Receiver.StartAsync();
        await using var server = await ConformanceServer.StartAsync();
        JsonNode? id = null;
        foreach (var example in new[] { "hook-least", "hook-request" })
        {
            var hook = JsonNode.Parse(Example(example))!;
            hook["url"] = receiver.Url;
            using var made = await PostAsync(
                server,
                "hpc/app/_build/v1/hooks",
                hook.ToJsonString(),
                BuildMediaTypes.Hook
            );
            id = JsonNode.Parse(await ShouldBeAsync("hook", made, HttpStatusCode.Created))!["id"];
            Assert.Equal("OPTIONS", (await receiver.NextAsync()).Method);
        }

        await ShouldBeAsync("hooks", await server.Http.GetAsync(Uri("hpc/app/_build/v1/hooks")));
        await server.SubmitAsync("?tag=1.0");
        Assert.Empty(Schemas.Faults("event", Encoding.UTF8.GetString((await receiver.NextAsync()).Body)));
        Assert.Equal(
            HttpStatusCode.Accepted,
            await server.Http.StatusAsync("POST", $"hpc/app/_build/v1/hooks/{id}/ping")
        );
        Assert.Empty(Schemas.Faults("event", Encoding.UTF8.GetString((await receiver.NextAsync()).Body)));
    }

    private static string Example(string name) => File.ReadAllText(Path.Combine(Schemas.Examples, name + ".json"));

    private static Uri Uri(string path) => new(path, UriKind.Relative);

    private static Task<HttpResponseMessage> PostAsync(BuildServer server, string path, string body, string type) =>
        server.Http.SendAsync("POST", path, Encoding.UTF8.GetBytes(body), type);

    private static async Task<string> ShouldBeAsync(
        string schema,
        HttpResponseMessage response,
        HttpStatusCode status = HttpStatusCode.OK
    )
    {
        var text = await response.Content.ReadAsStringAsync(Cancel);
        Assert.True(response.StatusCode == status, $"{response.StatusCode}: {text}");
        Assert.Empty(Schemas.Faults(schema, text));
        return text;
    }
}
