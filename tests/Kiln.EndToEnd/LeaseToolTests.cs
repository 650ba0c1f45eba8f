using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Kiln.EndToEnd.Harness;

namespace Kiln.EndToEnd;

/// <summary>A build node made of the tools that a machine has: they push with the lease's login, as with any other.</summary>
public sealed class LeaseToolTests(Machine machine, NodelessPolicyServer server) : IClassFixture<NodelessPolicyServer>
{
    private const string Offer =
        """{"node":"shell","platforms":["linux/amd64","linux/arm64"],"recipes":["dockerfile"],"outputs":["oci"],"leaseSeconds":600}""";

    [Theory]
    [InlineData("skopeo")]
    [InlineData("buildah")]
    public async Task Tool_pushes_into_a_lease_and_the_registry_publishes_it(string tool)
    {
        machine.Needs(tool);
        var repository = $"lease/{tool}-{Guid.NewGuid():N}";
        // Before there is a node, nobody could build: it has to have asked once.
        (await ClaimAsync(repository)).Dispose();
        using var answer = await Builds.PostRecipeAsync(server, repository, "tag=1", "FROM scratch\nCOPY a /\n");
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        using var claim = await ClaimAsync(repository);
        var lease = JsonNode.Parse(await claim.Content.ReadAsStringAsync())!;
        var tag = lease["push"]!["stagingTag"]!.GetValue<string>();
        var secret = lease["auth"]!["password"]!.GetValue<string>();

        Push(tool, $"docker://{server.Host}/{repository}:{tag}", $"_lease:{secret}");

        Assert.Equal(HttpStatusCode.NotFound, await Builds.ManifestStatusAsync(server, repository, tag));
        using var staged = await SendAsync(secret, HttpMethod.Head, $"/v2/{repository}/manifests/{tag}", null);
        var digest = staged.Headers.GetValues("Docker-Content-Digest").Single();
        using var result = await SendAsync(
            secret,
            HttpMethod.Put,
            $"{claim.Headers.Location}/result",
            $$$"""{"state":"succeeded","manifest":{"mediaType":"a/b","digest":"{{{digest}}}","size":1}}"""
        );
        Assert.True(result.IsSuccessStatusCode, await result.Content.ReadAsStringAsync());
        await Builds.SucceededAsync(server, await Builds.WaitAsync(server, answer.Headers.Location!.ToString()));
        machine.RunAsUser("skopeo", "inspect", "--tls-verify=false", $"docker://{server.Host}/{repository}:1").Ok();
        Assert.NotEqual(
            0,
            machine
                .RunAsUser(
                    "skopeo",
                    "copy",
                    "-q",
                    "--dest-tls-verify=false",
                    "--dest-creds",
                    $"_lease:{secret}",
                    $"oci:{BaseImages.Busybox(machine)}:latest",
                    $"docker://{server.Host}/{repository}:{tag}"
                )
                .ExitCode
        );
    }

    private void Push(string tool, string target, string login)
    {
        var source = $"oci:{BaseImages.Busybox(machine)}:latest";
        if (tool == "skopeo")
        {
            machine
                .RunAsUser("skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds", login, source, target)
                .Ok();
            return;
        }

        var image = machine.RunAsUser("buildah", "pull", "-q", source).Ok().Output.Trim();
        machine.RunAsUser("buildah", "push", "-q", "--tls-verify=false", "--creds", login, image, target).Ok();
    }

    private Task<HttpResponseMessage> ClaimAsync(string repository) =>
        server.Http.PostAsync($"/v2/{repository}/_build/v1/leases", new StringContent(Offer));

    private async Task<HttpResponseMessage> SendAsync(string secret, HttpMethod method, string path, string? body)
    {
        using var request = new HttpRequestMessage(method, path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", secret);
        request.Content = body is null ? null : new StringContent(body);
        return await server.Http.SendAsync(request);
    }
}
