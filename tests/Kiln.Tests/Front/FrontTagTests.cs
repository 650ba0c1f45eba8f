using System.Net;
using System.Text;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Tests.Access;
using Kiln.Tests.Builds;
using Kiln.Tests.Client;
using Kiln.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace Kiln.Tests.Front;

/// <summary>
/// Tags of a registry that tells those who may make a tag from those who may move one: the front's login may both, and
/// moves none for somebody who may not.
/// </summary>
public sealed class FrontTagTests
{
    private const string Repository = "team/app";

    // The one user who may move tags beside the front itself.
    private const string Mover = "all";
    private static readonly byte[] Theirs = Encoding.UTF8.GetBytes(
        $$"""{"schemaVersion":2,"mediaType":"{{MediaTypes.OciManifest}}","config":{"mediaType":"x/y","digest":"{{Digest.EmptyJson}}","size":2},"layers":[]}"""
    );

    [Fact]
    public async Task Who_may_not_move_a_tag_gets_no_build_for_it()
    {
        await using var registry = await StartAsync();
        await using var front = await FrontServer.StartGuardedAsync($"http://{registry.Host}");
        registry.AddManifest("1.0", MediaTypes.OciManifest, Theirs);
        using (var refused = await FrontServer.PostAsync(front, Repository, "not-build"))
        {
            Assert.Contains(
                "tag 1.0",
                await refused.Content.ReadAsStringAsync(TestContext.Current.CancellationToken),
                StringComparison.Ordinal
            );
            await refused.ShouldFailAsync(403, "DENIED");
        }

        Assert.Null(await front.Node.TryClaimAsync());
        using (var http = new HttpClient { BaseAddress = front.Http.BaseAddress })
        {
            http.DefaultRequestHeaders.Add("Authorization", AccessServer.Basic("not-build"));
            using var pushed = await FrontServer.PushRecipeAsync(http, Repository, "1.0.recipe");
            Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
            Assert.Contains("no build was started", pushed.Header("Warning"));
            Assert.Null(pushed.Header("WWW-Authenticate"));
        }

        // To ask has moved nothing, also where it is allowed.
        using var asked = await FrontServer.PostAsync(front, Repository, Mover);
        Assert.Equal(HttpStatusCode.Accepted, asked.StatusCode);
        Assert.Equal((MediaTypes.OciManifest, Digest.Of(Theirs)), Now(registry));
        await front.Node.SucceedAsync(await front.Node.ClaimAsync());
        var job = await FrontServer.EndAsync(front, Repository, (await BuildServer.ReadAsync(asked)).Id, Mover);
        Assert.Equal(BuildStates.Succeeded, job.State);
        Assert.Equal((MediaTypes.OciIndex, job.Result!.Manifest.Digest), Now(registry));
    }

    [Fact]
    public async Task A_tag_that_somebody_has_made_since_is_left_to_them()
    {
        await using var registry = await StartAsync();
        await using var front = await FrontServer.StartGuardedAsync($"http://{registry.Host}");
        using var asked = await FrontServer.PostAsync(front, Repository, "not-build");
        Assert.Equal(HttpStatusCode.Accepted, asked.StatusCode);
        var lease = await front.Node.ClaimAsync();
        registry.AddManifest("1.0", MediaTypes.OciManifest, Theirs);
        await front.Node.SucceedAsync(lease);
        var job = await FrontServer.EndAsync(front, Repository, (await BuildServer.ReadAsync(asked)).Id, Mover);
        Assert.Equal((BuildStates.Failed, FailureReasons.PolicyDenied), (job.State, job.Reason));
        Assert.Contains("ask for the build again", job.Message, StringComparison.Ordinal);
        Assert.Equal((MediaTypes.OciManifest, Digest.Of(Theirs)), Now(registry));
    }

    private static async Task<TestRegistry> StartAsync()
    {
        var registry = await TestRegistry.StartAsync();
        registry.Intercept = http =>
        {
            var authorization = http.Request.Headers.Authorization.ToString();
            if (authorization.Length == 0)
            {
                http.Response.StatusCode = 401;
                http.Response.Headers.WWWAuthenticate = "Basic realm=x";
                return Task.FromResult(true);
            }

            var moves =
                HttpMethods.IsPut(http.Request.Method)
                && http.Request.Path == $"/v2/{Repository}/manifests/1.0"
                && registry.Manifests.ContainsKey("1.0");
            var may =
                authorization == AccessServer.Basic(Mover) || authorization == AccessServer.Basic(FrontServer.Service);
            http.Response.StatusCode = moves && !may ? 403 : 200;
            return Task.FromResult(moves && !may);
        };
        return registry;
    }

    private static (string Type, Digest Digest) Now(TestRegistry registry) =>
        registry.Manifests["1.0"] is var (type, bytes) ? (type, Digest.Of(bytes)) : default;
}
