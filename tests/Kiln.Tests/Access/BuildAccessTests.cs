using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Access;

/// <summary>Who may build, and what a build may read of the registry for whoever asked for it.</summary>
public sealed class BuildAccessTests : IAsyncLifetime
{
    private static readonly LeaseClaim Offer = new()
    {
        Node = "test",
        Platforms = ["linux/amd64"],
        Recipes = [RecipeTypes.Dockerfile],
        Outputs = [BuildOutput.Oci],
    };

    private AccessServer? _server;

    private AccessServer Server => _server!;

    public async ValueTask InitializeAsync()
    {
        _server = await AccessServer.StartAsync();
        _server.Server.Services.GetRequiredService<NodeStatus>().Abilities = new NodeAbilities
        {
            Engines = ["test"],
            Platforms = [Platform.LinuxAmd64],
            RecipeTypes = [RecipeTypes.Dockerfile],
            Networks = [NetworkModes.Isolated, NetworkModes.None],
        };
    }

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();

    [Fact]
    public async Task A_build_reads_what_its_requester_may_pull_and_writes_nothing()
    {
        var lease = await LeaseAsync(AccessServer.Basic("all"));

        Assert.Contains(Server.Host, lease.Registry!.Hosts);
        var login = AccessServer.Basic("build", lease.Registry.Token);
        Assert.Equal(404, await StatusAsync(login, "GET", "team/base/tags/list"));
        Assert.Equal(403, await StatusAsync(login, "GET", "other/base/tags/list"));
        Assert.Equal(403, await StatusAsync(login, "POST", "team/base/blobs/uploads/"));
        Assert.Equal(403, await StatusAsync(login, "DELETE", "team/base/manifests/x"));
        Assert.Equal(403, await StatusAsync($"Bearer {lease.Registry.Token}", "GET", "/admin/v1/tokens"));

        var token = await Server.TokenAsync(
            login,
            "repository:team/base:pull,push,delete",
            "repository:other/base:pull"
        );
        Assert.Equal(404, await StatusAsync(token, "GET", "team/base/tags/list"));
        Assert.Equal(403, await StatusAsync(token, "GET", "other/base/tags/list"));
        Assert.NotEqual(202, await StatusAsync(token, "POST", "team/base/blobs/uploads/"));
    }

    [Fact]
    public async Task A_requester_who_lost_the_right_meanwhile_gets_no_login_for_the_build()
    {
        await SubmitAsync(AccessServer.Basic("all"));
        await Server.ChangeAsync(Server.HtpasswdFile, AccessServer.Htpasswd("pull"));

        Assert.Null((await ClaimAsync()).Registry);
    }

    [Fact]
    public async Task Nobody_logs_in_where_nobody_has_to()
    {
        await using var open = await Builds.BuildServer.StartAsync();
        await open.SubmitAsync("?tag=1");

        Assert.Null((await open.Node.ClaimAsync()).Registry);
    }

    [Fact]
    public async Task A_recipe_of_somebody_who_may_not_build_is_kept_and_not_built()
    {
        using var all = await PushRecipeAsync("all");
        Assert.Contains("build ", all.Header("Warning"));
        Assert.DoesNotContain("may not build", all.Header("Warning"));

        using var some = await PushRecipeAsync("not-build");
        Assert.Equal(HttpStatusCode.Created, some.StatusCode);
        Assert.Contains("no build was started: not-build may not build in repository team/app", some.Header("Warning"));
    }

    [Fact]
    public async Task Jobs_and_logs_are_for_those_who_may_pull()
    {
        var id = await SubmitAsync(AccessServer.Basic("all"));
        foreach (var path in new[] { $"team/app/_build/v1/jobs/{id}", $"team/app/_build/v1/jobs/{id}/logs" })
        {
            Assert.Equal(200, await StatusAsync(AccessServer.Basic("pull"), "GET", path));
            Assert.Equal(403, await StatusAsync(AccessServer.Basic("not-pull"), "GET", path));
            Assert.Equal(401, await StatusAsync(null, "GET", path));
        }

        // by way of a repository that one may pull, another's job is not there
        Assert.Equal(404, await StatusAsync(AccessServer.Basic("other"), "GET", $"other/app/_build/v1/jobs/{id}"));
        Assert.Contains(Server.Audit(), e => (string)e["action"]! == "job.request" && (string)e["reference"]! == id);
    }

    [Fact]
    public async Task Nodes_are_told_of_to_those_for_whom_they_build()
    {
        const string claim = """
            {"node":"mine","platforms":["linux/arm64"],"recipes":["dockerfile"],"outputs":["oci"],"labels":{"glibc":"2.28"}}
            """;
        var own = AccessServer.Basic("not-pull");
        using var body = new StringContent(claim, Encoding.UTF8, "application/json");
        using var request = new HttpRequestMessage(HttpMethod.Post, "_build/v1/leases") { Content = body };
        request.Headers.Authorization = AuthenticationHeaderValue.Parse(own);
        using var answer = await Server.Http.SendAsync(request);
        Assert.Equal(HttpStatusCode.NoContent, answer.StatusCode);

        Assert.Equal(["the registry itself", "mine 2.28"], await NodesAsync("not-pull", "team/app/"));
        Assert.Equal(["the registry itself", "mine 2.28"], await NodesAsync("not-pull", ""));
        Assert.Equal(["the registry itself"], await NodesAsync("all", "team/app/"));
        // Who may not build there learns of no machine.
        Assert.Null(await NodesAsync("pull", "team/app/"));
        Assert.Null(await NodesAsync(null, "public/app/"));
    }

    private async Task<IEnumerable<string>?> NodesAsync(string? user, string path)
    {
        var login = user is null ? null : AccessServer.Basic(user);
        using var response = await Server.SendAsync(login, "GET", $"{path}_build/v1/info");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return JsonSerializer
            .Deserialize(await response.Content.ReadAsByteArrayAsync(), BuildJson.Default.BuildInfo)!
            .Nodes?.Select(n => n.Labels is null ? n.Name : $"{n.Name} {n.Labels["glibc"]}");
    }

    private async Task<Lease> LeaseAsync(string authorization)
    {
        await SubmitAsync(authorization);
        return await ClaimAsync();
    }

    private async Task<Lease> ClaimAsync()
    {
        var coordinator = Server.Server.Services.GetRequiredService<IBuildCoordinator>();
        var lease = await coordinator.ClaimAsync(Offer, TimeSpan.Zero, TestContext.Current.CancellationToken);
        Assert.NotNull(lease);
        return lease;
    }

    private async Task<string> SubmitAsync(string authorization)
    {
        using var response = await SendAsync(
            authorization,
            "POST",
            "team/app/_build/v1/jobs?tag=1",
            "FROM scratch\nCOPY hello /hello\n"u8.ToArray(),
            BuildMediaTypes.TextDockerfile
        );
        var body = await response.Content.ReadAsByteArrayAsync();
        Assert.True(response.IsSuccessStatusCode, Encoding.UTF8.GetString(body));
        return JsonSerializer.Deserialize(body, BuildJson.Default.Job)!.Id;
    }

    private async Task<HttpResponseMessage> PushRecipeAsync(string user)
    {
        var recipe = Encoding.UTF8.GetBytes($"FROM scratch\n# {user}\nCOPY hello /hello\n");
        foreach (var blob in new[] { recipe, Samples.EmptyJson })
        {
            using var pushed = await SendAsync(
                AccessServer.Basic(user),
                "POST",
                $"team/app/blobs/uploads/?digest={Digest.Of(blob)}",
                blob,
                MediaTypes.OctetStream
            );
            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        }

        var manifest = Samples.Image(Samples.Descriptor(recipe, BuildMediaTypes.Dockerfile));
        manifest["artifactType"] = BuildMediaTypes.Recipe;
        manifest["annotations"] = new System.Text.Json.Nodes.JsonObject { [RecipeAnnotations.Trigger] = "push" };
        return await SendAsync(
            AccessServer.Basic(user),
            "PUT",
            $"team/app/manifests/{user}.recipe",
            manifest.Encode(),
            MediaTypes.OciManifest
        );
    }

    private async Task<HttpResponseMessage> SendAsync(
        string authorization,
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
        request.Headers.Authorization = AuthenticationHeaderValue.Parse(authorization);
        request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(type);
        return await Server.Http.SendAsync(request);
    }

    private async Task<int> StatusAsync(string? authorization, string method, string path)
    {
        using var response = await Server.SendAsync(authorization, method, path);
        return (int)response.StatusCode;
    }
}
