using System.Net;
using Kiln.Oci;
using Kiln.Server.Http;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Access;

/// <summary>
/// Every route by everybody: nobody, with wrong credentials, with an expired token, with too little, with just enough.
/// The routes come from the server's own tables: one without a row here fails <see cref="Every_route_has_a_row"/>.
/// </summary>
public sealed class MatrixTests : IAsyncLifetime
{
    private const string Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// <summary>What a route takes: actions of the policy in the repository, or a word for something else.</summary>
    private static readonly Dictionary<string, string> Rows = new(StringComparer.Ordinal)
    {
        ["GET /v2/"] = "login",
        ["GET /v2/_catalog"] = "catalog",
        ["GET /v2/_oci/ext/discover"] = "login",
        ["GET /v2/{name}/_oci/ext/discover"] = "any",
        ["GET /v2/_build/v1/info"] = "login",
        ["GET /v2/{name}/_build/v1/info"] = "any",
        ["GET /v2/{name}/blobs/{}"] = "pull",
        ["DELETE /v2/{name}/blobs/{}"] = "delete",
        ["POST /v2/{name}/blobs/uploads/"] = "push",
        ["POST /v2/{name}/blobs/uploads"] = "push",
        ["GET /v2/{name}/blobs/uploads/{}"] = "push",
        ["PATCH /v2/{name}/blobs/uploads/{}"] = "push",
        ["PUT /v2/{name}/blobs/uploads/{}"] = "push",
        ["DELETE /v2/{name}/blobs/uploads/{}"] = "push",
        ["GET /v2/{name}/manifests/{}"] = "pull",
        ["PUT /v2/{name}/manifests/{}"] = "push",
        ["DELETE /v2/{name}/manifests/{}"] = "delete",
        ["GET /v2/{name}/tags/list"] = "pull",
        ["GET /v2/{name}/referrers/{}"] = "pull",
        ["POST /v2/{name}/_build/v1/jobs"] = "push,build",
        ["GET /v2/{name}/_build/v1/jobs"] = "pull",
        ["GET /v2/{name}/_build/v1/jobs/{}"] = "pull",
        ["DELETE /v2/{name}/_build/v1/jobs/{}"] = "push,build",
        ["GET /v2/{name}/_build/v1/jobs/{}/logs"] = "pull",
        ["GET /v2/{name}/_build/v1/hints"] = "pull",
        ["POST /v2/{name}/_build/v1/hints"] = "push",
        ["POST /v2/{name}/_build/v1/secrets"] = "push,build",
        ["GET /v2/{name}/_build/v1/hooks"] = "manage",
        ["POST /v2/{name}/_build/v1/hooks"] = "manage",
        ["GET /v2/{name}/_build/v1/hooks/{}"] = "manage",
        ["DELETE /v2/{name}/_build/v1/hooks/{}"] = "manage",
        ["POST /v2/{name}/_build/v1/hooks/{}/ping"] = "manage",
        ["POST /v2/_build/v1/leases"] = "claim",
        ["POST /v2/{name}/_build/v1/leases"] = "claim",
        ["PATCH /v2/{name}/_build/v1/jobs/{}/leases/{}"] = "lease",
        ["DELETE /v2/{name}/_build/v1/jobs/{}/leases/{}"] = "lease",
        ["PATCH /v2/{name}/_build/v1/jobs/{}/leases/{}/log"] = "lease",
        ["GET /v2/{name}/_build/v1/jobs/{}/leases/{}/log"] = "lease",
        ["PUT /v2/{name}/_build/v1/jobs/{}/leases/{}/result"] = "lease",
        ["GET /admin/v1/quotas"] = "admin",
        ["GET /admin/v1/deliveries"] = "admin",
        ["POST /admin/v1/deliveries/{}"] = "admin",
        ["GET /admin/v1/gc"] = "admin",
        ["POST /admin/v1/gc"] = "admin",
        ["GET /admin/v1/tokens"] = "admin",
        ["POST /admin/v1/tokens"] = "admin",
        ["DELETE /admin/v1/tokens/{}"] = "admin",
    };

    private AccessServer? _server;

    private AccessServer Server => _server!;

    public static TheoryData<string, string> Routes
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (var (route, needs) in Rows)
            {
                data.Add(route, needs);
            }

            return data;
        }
    }

    public async ValueTask InitializeAsync() => _server = await AccessServer.StartAsync();

    public async ValueTask DisposeAsync() => await Server.DisposeAsync();

    [Fact]
    public void Every_route_has_a_row()
    {
        var routes = new[] { V2Router.Root, AdminEndpoints.Root }.SelectMany(root =>
            Server
                .Server.Services.GetRequiredKeyedService<V2Router>(root)
                .Routes.Select(r => $"{r.Method} {root}{r.Pattern}")
        );

        Assert.Equal(Rows.Keys.Order(StringComparer.Ordinal), routes.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Whatever_changes_something_is_written_down_by_a_name_of_its_own()
    {
        var nameless = new[] { V2Router.Root, AdminEndpoints.Root }
            .SelectMany(root => Server.Server.Services.GetRequiredKeyedService<V2Router>(root).Routes)
            .Where(r => r.Method != "GET" && r.Need.Action == Kiln.Server.Audit.AuditActions.Read);

        Assert.Empty(nameless);
    }

    [Theory]
    [MemberData(nameof(Routes))]
    public async Task Nobody_is_asked_to_log_in_for_the_right_scope(string route, string needs)
    {
        using var response = await AskAsync(null, route);
        await ShouldBeChallengedAsync(response, needs, error: null);
    }

    [Theory]
    [MemberData(nameof(Routes))]
    public async Task Wrong_credentials_are_no_credentials(string route, string needs)
    {
        foreach (
            var wrong in new[]
            {
                AccessServer.Basic("all", "wrong"),
                AccessServer.Basic("nosuchuser"),
                "Basic !!!",
                "Bearer nonsense",
                "Bearer kiln_0123456789012345678901234567890123456789012",
                "Digest username=all",
            }
        )
        {
            using var response = await AskAsync(wrong, route);

            await ShouldBeChallengedAsync(response, needs, "invalid_token");
        }
    }

    [Theory]
    [MemberData(nameof(Routes))]
    public async Task An_expired_token_is_refused(string route, string needs)
    {
        var token = await Server.TokenAsync(AccessServer.Basic("root"), ScopeOf(needs) ?? "repository:x:pull");
        using (var early = await AskAsync(token, route))
        {
            Assert.NotEqual(HttpStatusCode.Unauthorized, early.StatusCode);
        }

        Server.Time.Advance(TimeSpan.FromMinutes(5));
        using var response = await AskAsync(token, route);

        await ShouldBeChallengedAsync(response, needs, "invalid_token");
    }

    [Theory]
    [MemberData(nameof(Routes))]
    public async Task A_token_for_something_else_is_refused_with_the_right_scope(string route, string needs)
    {
        var token = await Server.TokenAsync(AccessServer.Basic("root"), "repository:team/other:pull,push,delete,build");
        using var response = await AskAsync(token, route);
        if (needs == "login")
        {
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            return;
        }

        if (needs == "lease")
        {
            await response.ShouldFailAsync(403, "DENIED");
            return;
        }

        await ShouldBeChallengedAsync(response, needs, "insufficient_scope");
    }

    [Theory]
    [MemberData(nameof(Routes))]
    public async Task Whoever_lacks_one_right_is_refused(string route, string needs)
    {
        string[] lacking = needs switch
        {
            // Everybody may build below a place of their own, and so have a node for that.
            "login" or "catalog" or "claim" => [],
            "lease" => ["root", "all", "nobody"],
            "any" => ["nobody", "other"],
            "admin" or "manage" => ["all", "nobody"],
            _ => ["nobody", "other", .. needs.Split(',').Select(n => $"not-{n}")],
        };
        foreach (var user in lacking)
        {
            using var response = await AskAsync(AccessServer.Basic(user), route);

            await response.ShouldFailAsync(403, "DENIED");
        }
    }

    [Theory]
    [MemberData(nameof(Routes))]
    public async Task Whoever_has_just_the_rights_is_let_in(string route, string needs)
    {
        if (needs == "lease")
        {
            // Nobody's right: LeaseCredentialTests has the credential that is let in.
            return;
        }

        var user = needs switch
        {
            "login" or "catalog" or "claim" => "nobody",
            "any" or "pull" => "pull",
            "push" => "push",
            "admin" or "manage" => "root",
            "delete" => "not-build",
            _ => "not-delete",
        };
        var scope = ScopeOf(needs);
        var token = await Server.TokenAsync(AccessServer.Basic(user), scope is null ? [] : [scope]);
        foreach (var right in new[] { AccessServer.Basic(user), token })
        {
            using var response = await AskAsync(right, route);

            Assert.NotEqual(HttpStatusCode.Unauthorized, response.StatusCode);
            Assert.DoesNotContain("DENIED", await response.Content.ReadAsStringAsync());
        }
    }

    private Task<HttpResponseMessage> AskAsync(string? authorization, string route)
    {
        var (method, pattern) = (route.Split(' ')[0], route.Split(' ')[1]);
        var parameter =
            pattern.Contains("uploads/{}", StringComparison.Ordinal)
            || pattern.Contains("jobs/{}", StringComparison.Ordinal)
                ? "0190a0b0c0d0e0f0a0b0c0d0e0f0a0b0"
                : Digest;
        var path = pattern.Replace("{name}", "team/app").Replace("{}", parameter);
        // As through a proxy: over loopback this process, too, is the server's own user.
        return Server.SendAsync(authorization, method, path, ("X-Forwarded-For", "192.0.2.1"));
    }

    private async Task ShouldBeChallengedAsync(HttpResponseMessage response, string needs, string? error)
    {
        await response.ShouldFailAsync(401, "UNAUTHORIZED");
        var expected = $"Bearer realm=\"http://{Server.Host}/token\",service=\"{Server.Host}\"";
        expected += ScopeOf(needs) is { } scope ? $",scope=\"{scope}\"" : "";
        expected += error is null ? "" : $",error=\"{error}\"";
        Assert.Equal(expected, response.Header("WWW-Authenticate"));
    }

    private static string? ScopeOf(string needs) =>
        needs switch
        {
            "login" or "lease" => null,
            "claim" => "registry:build:lease",
            "catalog" => "registry:catalog:*",
            "admin" => "registry:admin:*",
            "manage" => "repository:team/app:admin",
            "any" => "repository:team/app:pull",
            "push" => "repository:team/app:pull,push",
            "push,build" => "repository:team/app:pull,push,build",
            _ => $"repository:team/app:{needs}",
        };
}
