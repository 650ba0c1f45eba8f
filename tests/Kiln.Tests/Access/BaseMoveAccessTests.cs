using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Builds;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Access;

/// <summary>What a moved base starts is somebody's, who has to be allowed to have it.</summary>
public sealed class BaseMoveAccessTests
{
    private const string Policy =
        AccessServer.Policy + "\nrebuilds:\n  - { repositories: \"team/**\", rebuild: on-base-change }\n";

    [Fact]
    public async Task Only_who_may_still_build_and_pull_the_base_gets_another_build()
    {
        await using var server = await AccessServer.StartAsync(Policy);
        var services = server.Server.Services;
        services.GetRequiredService<NodeStatus>().Abilities = new NodeAbilities
        {
            Engines = ["test"],
            Platforms = [Platform.LinuxAmd64],
            RecipeTypes = [RecipeTypes.Dockerfile],
            Networks = [NetworkModes.Isolated, NetworkModes.None],
        };
        var node = new TestNode(services.GetRequiredService<IBuildCoordinator>);
        var first = await PushBaseAsync(server, "all");
        // Older jobs are looked at first: when the last one's is there, the others were decided.
        foreach (var user in new[] { "all", "not-pull", "not-delete" })
        {
            await BuildAsync(server, node, user, first);
            server.Time.Advance(TimeSpan.FromSeconds(1));
        }

        await server.ChangeAsync(server.HtpasswdFile, AccessServer.Htpasswd("not-pull", "not-delete"));
        await PushBaseAsync(server, "not-delete");

        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        IReadOnlyList<Job> started;
        while ((started = await RebuildsAsync(server)).Count == 0)
        {
            await Task.Delay(50, patience.Token);
        }

        var job = Assert.Single(started);
        Assert.Equal(("not-delete", "not-delete"), (job.CreatedBy, job.Tags.Single()));
    }

    private static async Task BuildAsync(AccessServer server, TestNode node, string user, Digest on)
    {
        var name = $"{server.Host}/team/base:1";
        using var asked = await SendAsync(
            server,
            user,
            "POST",
            $"team/app/_build/v1/jobs?tag={user}&arg.WHO={user}",
            Encoding.UTF8.GetBytes($"FROM {name}\n"),
            BuildMediaTypes.TextDockerfile
        );
        Assert.True(asked.IsSuccessStatusCode, await asked.Content.ReadAsStringAsync());
        var lease = await node.ClaimAsync();
        await node.CompleteAsync(
            lease,
            new LeaseResult
            {
                State = BuildStates.Succeeded,
                Manifest = await node.PushImageAsync(lease, user, lease.Task.Platform),
                ResolvedDependencies = [new ResolvedDependency { Uri = "docker://" + name, Digest = on }],
            }
        );
    }

    private static async Task<Digest> PushBaseAsync(AccessServer server, string user)
    {
        var image = Samples.Image().Encode();
        foreach (
            var (method, path, body, type) in new[]
            {
                (
                    "POST",
                    $"team/base/blobs/uploads/?digest={Digest.Of(Samples.EmptyJson)}",
                    Samples.EmptyJson,
                    MediaTypes.OctetStream
                ),
                ("PUT", "team/base/manifests/1", image, MediaTypes.OciManifest),
            }
        )
        {
            using var pushed = await SendAsync(server, user, method, path, body, type);
            Assert.True(pushed.IsSuccessStatusCode, await pushed.Content.ReadAsStringAsync());
        }

        return Digest.Of(image);
    }

    private static async Task<IReadOnlyList<Job>> RebuildsAsync(AccessServer server)
    {
        using var response = await server.SendAsync(AccessServer.Basic("not-delete"), "GET", "team/app/_build/v1/jobs");
        var jobs = JsonSerializer.Deserialize(
            await response.Content.ReadAsByteArrayAsync(),
            BuildJson.Default.JobList
        )!;
        return [.. jobs.Jobs.Where(j => j.Trigger == JobTriggers.Base)];
    }

    private static async Task<HttpResponseMessage> SendAsync(
        AccessServer server,
        string user,
        string method,
        string path,
        byte[] body,
        string type
    )
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path)
        {
            Content = new ByteArrayContent(body),
        };
        request.Headers.Authorization = AuthenticationHeaderValue.Parse(AccessServer.Basic(user));
        request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        return await server.Http.SendAsync(request);
    }
}
