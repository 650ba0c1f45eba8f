using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Node;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Http;
using Kiln.Tests.Builds;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Access;

/// <summary>
/// Build nodes with users and rights around them: who gets whose work, and what the credential opens that comes with it.
/// </summary>
public sealed class LeaseCredentialTests : IAsyncLifetime
{
    private static readonly string Rules = AccessServer.Policy.Replace(
        "rules:",
        """
        rules:
          - { who: other, repositories: "team/**", actions: lease }
          - { who: nobody, repositories: "team/**", actions: lease, requesters: [not-pull, group:admins] }
        """,
        StringComparison.Ordinal
    );

    private AccessServer? _server;

    private AccessServer Server => _server!;

    private WireNode Node => new(Server.Http);

    public async ValueTask InitializeAsync()
    {
        _server = await AccessServer.StartAsync(Rules);
        Ready();
    }

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();

    [Fact]
    public async Task A_node_serves_those_that_it_is_granted_and_its_own_user()
    {
        await SubmitAsync("all", "team/app", 1);
        using (var none = await Node.ClaimAsync(AccessServer.Basic("nobody")))
        {
            Assert.Equal(HttpStatusCode.NoContent, none.StatusCode);
        }

        await SubmitAsync("not-pull", "team/app", 2);
        using (var granted = await Node.ClaimAsync(AccessServer.Basic("nobody")))
        {
            Assert.Equal(HttpStatusCode.Created, granted.StatusCode);
        }

        // Of two that wait each user's own node gets its user's.
        await SubmitAsync("not-delete", "team/app", 3);
        var own = await Node.LeaseAsync(AccessServer.Basic("not-delete"));
        Assert.Equal("3", (string)own.Document["task"]!["args"]!["N"]!);
        using (var none = await Node.ClaimAsync(AccessServer.Basic("not-delete")))
        {
            Assert.Equal(HttpStatusCode.NoContent, none.StatusCode);
        }

        var centre = await Node.LeaseAsync(AccessServer.Basic("other"));
        Assert.Equal("1", (string)centre.Document["task"]!["args"]!["N"]!);
        using var admin = await Node.ClaimAsync(AccessServer.Basic("root"));
        Assert.Equal(HttpStatusCode.NoContent, admin.StatusCode);
    }

    [Fact]
    public async Task Two_who_have_only_their_own_nodes_each_get_their_own_build()
    {
        Server.Server.Services.GetRequiredService<NodeStatus>().Abilities = NodeAbilities.None(
            "it builds nothing itself"
        );
        string[] users = ["all", "not-delete"];
        foreach (var user in users)
        {
            using var nothing = await Node.ClaimAsync(AccessServer.Basic(user));
            Assert.Equal(HttpStatusCode.NoContent, nothing.StatusCode);
        }

        foreach (var user in users)
        {
            await SubmitAsync(user, "team/app", 9);
        }

        foreach (var user in users)
        {
            Assert.Equal(
                "9",
                (string)(await Node.LeaseAsync(AccessServer.Basic(user))).Document["task"]!["args"]!["N"]!
            );
        }
    }

    [Fact]
    public async Task A_machine_token_for_leases_is_a_node_and_nothing_else()
    {
        using var issued = await Node.SendAsync(
            AccessServer.Basic("root"),
            "POST",
            "/admin/v1/tokens",
            """{"name":"build03","repositories":["team/**"],"actions":["lease"],"expiresInSeconds":3600}"""u8.ToArray()
        );
        var token = "Bearer " + JsonNode.Parse(await issued.Content.ReadAsStringAsync())!["token"];
        var job = await SubmitAsync("all", "team/app", 1);
        await SubmitAsync("nobody", "users/nobody/app", 2);
        await Node.LeaseAsync(token);
        using (var none = await Node.ClaimAsync(token))
        {
            Assert.Equal(HttpStatusCode.NoContent, none.StatusCode);
        }

        using (var pull = await Node.SendAsync(token, "GET", "team/app/tags/list"))
        {
            await pull.ShouldFailAsync(403, "DENIED");
        }

        using var view = await Node.SendAsync(AccessServer.Basic("all"), "GET", $"team/app/_build/v1/jobs/{job}");
        var task = JsonNode.Parse(await view.Content.ReadAsStringAsync())!["tasks"]![0]!;
        Assert.Equal("token:build03", (string)task["node"]!);
    }

    [Fact]
    public async Task What_somebodys_own_node_has_built_answers_nobody_else()
    {
        await SubmitAsync("not-delete", "team/app", 1);
        var lease = await Node.LeaseAsync(AccessServer.Basic("not-delete"));
        using var done = await lease.ResultAsync(WireLease.Succeeded(await lease.PushImageAsync()));
        Assert.Equal(HttpStatusCode.OK, done.StatusCode);
        var again = await JobAsync("not-delete", "team/app", await SubmitAsync("not-delete", "team/app", 1));
        Assert.True((bool)again["cached"]!);
        var other = await JobAsync("all", "team/app", await SubmitAsync("all", "team/app", 1));
        Assert.False((bool)other["done"]!);

        await SubmitAsync("not-delete", "team/app", 2);
        await Node.LeaseAsync(AccessServer.Basic("not-delete"));
        var joining = await JobAsync("all", "team/app", await SubmitAsync("all", "team/app", 2));
        Assert.False((bool)joining["tasks"]![0]!["shared"]!);
    }

    [Fact]
    public async Task What_two_wait_for_is_for_neither_ones_own_node()
    {
        await SubmitAsync("not-delete", "team/app", 1);
        await SubmitAsync("all", "team/app", 1);
        using var none = await Node.ClaimAsync(AccessServer.Basic("not-delete"));
        Assert.Equal(HttpStatusCode.NoContent, none.StatusCode);
    }

    [Fact]
    public async Task A_lease_does_what_its_routes_say_and_nothing_else()
    {
        var lease = await LeaseAsync("all");
        var routes = new[] { V2Router.Root, AdminEndpoints.Root }
            .SelectMany(root =>
                Server
                    .Server.Services.GetRequiredKeyedService<V2Router>(root)
                    .Routes.Select(r => (r.Method, Path: root + r.Pattern, r.Need))
            )
            .ToList();
        Assert.Contains(routes, r => r.Need.Lease != LeaseUse.None);
        foreach (var (method, path, _) in routes.Where(r => r.Need.Lease == LeaseUse.None))
        {
            using var response = await lease.SendAsync(
                method,
                path.Replace("{name}", "team/app").Replace("{}", Digest.EmptyJson.ToString())
            );
            await response.ShouldFailAsync(403, "DENIED");
        }

        var open = routes.Where(r => r.Need.Lease != LeaseUse.None).Select(r => $"{r.Method} {r.Path}");
        Assert.Equal(
            [
                "DELETE /v2/{name}/_build/v1/jobs/{}/leases/{}",
                "DELETE /v2/{name}/blobs/uploads/{}",
                "GET /v2/",
                "GET /v2/{name}/_build/v1/jobs/{}/leases/{}/log",
                "GET /v2/{name}/blobs/uploads/{}",
                "GET /v2/{name}/blobs/{}",
                "GET /v2/{name}/manifests/{}",
                "PATCH /v2/{name}/_build/v1/jobs/{}/leases/{}",
                "PATCH /v2/{name}/_build/v1/jobs/{}/leases/{}/log",
                "PATCH /v2/{name}/blobs/uploads/{}",
                "POST /v2/{name}/blobs/uploads",
                "POST /v2/{name}/blobs/uploads/",
                "PUT /v2/{name}/_build/v1/jobs/{}/leases/{}/result",
                "PUT /v2/{name}/blobs/uploads/{}",
                "PUT /v2/{name}/manifests/{}",
            ],
            open.Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public async Task What_a_lease_pushes_only_the_lease_sees()
    {
        var lease = await LeaseAsync("all");
        var digest = await lease.PushImageAsync(reference: lease.StagingTag);
        foreach (var reference in new[] { digest.ToString(), lease.StagingTag })
        {
            Assert.Equal(200, await StatusAsync(lease.Bearer, "GET", $"team/app/manifests/{reference}"));
            Assert.Equal(404, await StatusAsync(Basic("all"), "GET", $"team/app/manifests/{reference}"));
        }

        var blob = await lease.PushBlobAsync("staged"u8.ToArray());
        Assert.Equal(200, await StatusAsync(lease.Bearer, "GET", $"team/app/blobs/{blob}"));
        Assert.Equal(404, await StatusAsync(Basic("all"), "GET", $"team/app/blobs/{blob}"));

        // Chunk by chunk, as podman and skopeo do; an upload is its lease's and nobody else's.
        using var begun = await lease.SendAsync("POST", "team/app/blobs/uploads/", []);
        var location = begun.Headers.Location!.ToString();
        Assert.Equal(404, await StatusAsync(Basic("all"), "GET", location));
        using var chunk = await lease.SendAsync("PATCH", location, "chunk"u8.ToArray(), MediaTypes.OctetStream);
        Assert.Equal(HttpStatusCode.Accepted, chunk.StatusCode);
        using var whole = await lease.SendAsync("PUT", $"{location}?digest={Digest.Of("chunk"u8)}", []);
        Assert.Equal(HttpStatusCode.Created, whole.StatusCode);
        Assert.Equal(404, await StatusAsync(Basic("all"), "GET", $"team/app/blobs/{Digest.Of("chunk"u8)}"));
        var foreign = await Server.Http.SendAsync(
            "POST",
            "team/app/blobs/uploads/",
            headers: ("Authorization", Basic("all"))
        );
        Assert.Equal(404, await StatusAsync(lease.Bearer, "GET", foreign.Headers.Location!.ToString()));
    }

    [Fact]
    public async Task A_lease_moves_no_tag_attaches_nothing_and_pushes_nowhere_else()
    {
        var lease = await LeaseAsync("all");
        var manifest = await lease.ImageAsync("hello");
        foreach (var reference in new[] { "1", "latest", lease.StagingTag + "x", $"{Digest.Of(manifest)}?tag=1" })
        {
            using var moved = await lease.PutManifestAsync(reference, manifest);
            await moved.ShouldFailAsync(403, "DENIED");
        }

        var subject = new Descriptor
        {
            MediaType = MediaTypes.OciManifest,
            Digest = Digest.Of(manifest),
            Size = manifest.Length,
        };
        var attached = await lease.ImageAsync("hello", subject: subject);
        using (var refused = await lease.PutManifestAsync(Digest.Of(attached).ToString(), attached))
        {
            await refused.ShouldFailAsync(403, "DENIED");
        }

        Assert.Equal(403, await StatusAsync(lease.Bearer, "POST", "team/other/blobs/uploads/"));
        Assert.Equal(403, await StatusAsync(lease.Bearer, "DELETE", $"team/app/manifests/{Digest.Of(manifest)}"));
    }

    [Fact]
    public async Task A_lease_pulls_what_its_requester_may_pull_and_what_the_build_was_given()
    {
        await PushAsync("team/base", "base");
        await PushAsync("secret/base", "hidden");
        await PushAsync("public/base", "open");
        await PushAsync("team/app", "existing");
        var lease = await LeaseAsync("all");
        var recipe = (string)lease.Document["task"]!["recipe"]!["digest"]!;
        Assert.Equal(200, await StatusAsync(lease.Bearer, "GET", $"team/app/blobs/{recipe}"));
        Assert.Equal(200, await BlobAsync(lease, "team/base", "base"));
        Assert.Equal(200, await BlobAsync(lease, "public/base", "open"));
        Assert.Equal(403, await BlobAsync(lease, "secret/base", "hidden"));
        Assert.Equal(200, await BlobAsync(lease, "team/app", "existing"));
        Assert.Equal(202, await MountAsync(lease, "secret/base", "hidden"));
        Assert.Equal(201, await MountAsync(lease, "team/base", "base"));
        Assert.Equal(404, await StatusAsync(Basic("all"), "GET", $"team/app/blobs/{Digest.Of("base"u8)}"));
        using var ended = await lease.ResultAsync("""{"state":"failed","reason":"recipe-error"}""");
        Assert.Equal(HttpStatusCode.OK, ended.StatusCode);

        // Who may not pull may build all the same: their build sees its recipe and nothing else of the repository.
        var blind = await LeaseAsync("not-pull");
        recipe = (string)blind.Document["task"]!["recipe"]!["digest"]!;
        Assert.Equal(200, await StatusAsync(blind.Bearer, "GET", $"team/app/blobs/{recipe}"));
        Assert.Equal(404, await BlobAsync(blind, "team/app", "existing"));
        Assert.Equal(403, await BlobAsync(blind, "team/base", "base"));
    }

    [Fact]
    public async Task Tools_that_only_log_in_get_the_lease_itself_for_a_token()
    {
        var lease = await LeaseAsync("all");
        var basic = AccessServer.Basic("_lease", lease.Token);
        var answer = await Server.TokenAnswerAsync(basic, "repository:team/app:pull,push", "repository:secret/x:pull");
        Assert.Equal(lease.Token, (string)answer["token"]!);
        Assert.Equal(200, await StatusAsync(basic, "GET", "/v2/"));

        using var given = await lease.GiveBackAsync();
        Assert.Equal(HttpStatusCode.NoContent, given.StatusCode);
        using var over = await Node.SendAsync(basic, "GET", "/token?service=test");
        Assert.Equal(HttpStatusCode.Unauthorized, over.StatusCode);
        Assert.Equal(401, await StatusAsync(basic, "GET", "/v2/"));
        Assert.Equal(401, await StatusAsync(lease.Bearer, "POST", "team/app/blobs/uploads/"));
    }

    [Fact]
    public async Task A_policy_says_for_whom_a_node_builds_beside_the_right_to_and_nowhere_else()
    {
        await Server.ChangeAsync(
            Server.PolicyFile,
            Rules.Replace("actions: lease, requesters", "actions: pull, requesters", StringComparison.Ordinal)
        );
        await SubmitAsync("not-pull", "team/app", 1);
        // The file is wrong, so the one before counts.
        await Node.LeaseAsync(AccessServer.Basic("nobody"));
    }

    private static string Basic(string user) => AccessServer.Basic(user);

    private void Ready() =>
        Server.Server.Services.GetRequiredService<NodeStatus>().Abilities = new NodeAbilities
        {
            Engines = ["test"],
            Platforms = [Platform.LinuxAmd64],
            RecipeTypes = [RecipeTypes.Dockerfile],
            Networks = [NetworkModes.Isolated, NetworkModes.None],
        };

    private async Task<WireLease> LeaseAsync(string requester)
    {
        await SubmitAsync(requester, "team/app", 1);
        return await Node.LeaseAsync(Basic("other"));
    }

    private async Task<string> SubmitAsync(string user, string repository, int number)
    {
        using var response = await Node.SendAsync(
            Basic(user),
            "POST",
            $"{repository}/_build/v1/jobs?arg.N={number}",
            "FROM scratch\nCOPY hello /hello\n"u8.ToArray(),
            BuildMediaTypes.TextDockerfile
        );
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, body);
        return (string)JsonNode.Parse(body)!["id"]!;
    }

    private async Task<JsonNode> JobAsync(string user, string repository, string job)
    {
        using var response = await Node.SendAsync(Basic(user), "GET", $"{repository}/_build/v1/jobs/{job}");
        return JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
    }

    private async Task PushAsync(string repository, string content)
    {
        var bytes = Encoding.UTF8.GetBytes(content);
        using var response = await Node.SendAsync(
            Basic("root"),
            "POST",
            $"{repository}/blobs/uploads/?digest={Digest.Of(bytes)}",
            bytes,
            MediaTypes.OctetStream
        );
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
    }

    private Task<int> BlobAsync(WireLease lease, string repository, string content) =>
        StatusAsync(lease.Bearer, "GET", $"{repository}/blobs/{Digest.Of(Encoding.UTF8.GetBytes(content))}");

    private Task<int> MountAsync(WireLease lease, string from, string content) =>
        StatusAsync(
            lease.Bearer,
            "POST",
            $"team/app/blobs/uploads/?mount={Digest.Of(Encoding.UTF8.GetBytes(content))}&from={from}"
        );

    private async Task<int> StatusAsync(string? authorization, string method, string path)
    {
        using var response = await Node.SendAsync(authorization, method, path);
        return (int)response.StatusCode;
    }
}
