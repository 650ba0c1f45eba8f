using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

public sealed class ResourceTests(Machine machine, Server server) : IClassFixture<Server>
{
    private const int Megabyte = 1 << 20;

    [Fact]
    public async Task A_build_gets_the_memory_that_it_asked_for_and_no_more()
    {
        var name = $"{server.Host}/resources/base:1";
        machine
            .RunAsUser(
                "skopeo",
                "copy",
                "-q",
                "--dest-tls-verify=false",
                $"oci:{BaseImages.Busybox(machine)}:latest",
                $"docker://{name}"
            )
            .Ok();

        var small = await BuildAsync($"FROM {name}\nRUN echo small >/small\n", 300L * Megabyte);
        await Builds.SucceededAsync(server, small);
        Assert.Equal(300L * Megabyte, small["tasks"]![0]!["confinement"]!["memoryBytes"]!.GetValue<long>());

        // head keeps nothing, tail all of it.
        var large = await BuildAsync(
            $"FROM {name}\nRUN head -c 900000000 /dev/zero | tail -c 900000000 >/dev/null\n",
            300L * Megabyte
        );
        Assert.Equal("limit-exceeded", Builds.Text(large, "reason"));
        Assert.Contains("memory", Builds.Text(large, "message"));
    }

    private async Task<JsonNode> BuildAsync(string recipe, long memory)
    {
        var request = new JsonObject
        {
            ["recipe"] = new JsonObject
            {
                ["mediaType"] = "text/x-dockerfile",
                ["data"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(recipe)),
            },
            ["resources"] = new JsonObject { ["memoryBytes"] = memory },
            ["mustUnderstand"] = new JsonArray("resources"),
        };
        using var answer = await server.Http.PostAsync(
            "/v2/resources/app/_build/v1/jobs",
            new StringContent(request.ToJsonString(), Encoding.UTF8, new MediaTypeHeaderValue("application/json"))
        );
        Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode);
        return await Builds.WaitAsync(server, answer.Headers.Location!.ToString());
    }
}
