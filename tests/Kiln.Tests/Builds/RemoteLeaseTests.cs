using System.Net;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Builds.Progress;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Builds;

/// <summary>Leases of a node elsewhere, over HTTP.</summary>
public sealed class RemoteLeaseTests : LeaseContract
{
    protected override bool Remote => true;

    [Fact]
    public async Task A_server_that_was_away_takes_the_build_of_a_node_elsewhere_as_if_nothing_had_been()
    {
        await using var server = await BuildServer.StartAsync(fakeTime: true, remote: true);
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lease, "before\n");

        // Longer than the lease would have lived.
        await server.RestartAsync(() => server.Time!.Advance(TimeSpan.FromHours(1)));
        Assert.Equal(BuildStates.Running, (await server.GetAsync(job.Id)).State);
        await server.Node.LogAsync(lease, "after\n");
        await server.Node.SucceedAsync(lease);

        Assert.Equal(BuildStates.Succeeded, (await server.GetAsync(job.Id)).State);
        Assert.NotNull(await server.TagAsync("1.0"));
        Assert.EndsWith("before\nafter\n", await server.LogAsync(job.Id), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_builds_says_the_credential_and_not_the_node()
    {
        await using var server = await BuildServer.StartAsync(remote: true);
        var job = await server.SubmitAsync("?tag=1.0");
        await server.Node.ClaimAsync();

        Assert.StartsWith("uid:", (await server.GetAsync(job.Id)).Tasks[0].Node, StringComparison.Ordinal);
        Assert.DoesNotContain("test-node", await server.LogAsync(job.Id));
    }

    [Fact]
    public async Task A_product_is_published_under_the_digest_by_which_it_was_pushed()
    {
        await using var server = await BuildServer.StartAsync(remote: true);
        var job = await server.SubmitAsync("?tag=1.0");
        var lease = await new WireNode(server.Http).LeaseAsync();
        var manifest = await lease.ImageAsync("hello");
        var digest = Digest.Of(manifest, Digest.Sha512);
        using var pushed = await lease.PutManifestAsync(digest.ToString(), manifest);
        Assert.Equal(HttpStatusCode.Created, pushed.StatusCode);
        using var result = await lease.ResultAsync(WireLease.Succeeded(digest));
        Assert.Equal(HttpStatusCode.OK, result.StatusCode);

        Assert.Equal(digest, (await server.GetAsync(job.Id)).Result!.Outputs[0].Manifest.Digest);
        using var pulled = await server.Http.SendAsync("GET", $"{BuildServer.Repository}/manifests/{digest}");
        Assert.Equal(manifest, await pulled.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        var index = await server.TagAsync("1.0");
        Assert.Equal(digest, index!.Manifests[0].Digest);
    }

    [Fact]
    public async Task A_server_that_ends_has_no_node_elsewhere_wait()
    {
        // Its time stands: the wait does not end by itself.
        await using var server = await BuildServer.StartAsync(fakeTime: true, remote: true);
        server.Services.GetRequiredService<Wakeups>().Stop();

        using var nothing = await new WireNode(server.Http).ClaimAsync(headers: ("Prefer", "wait=50"));

        Assert.Equal(HttpStatusCode.NoContent, nothing.StatusCode);
    }

    [Fact]
    public async Task A_server_that_builds_nothing_itself_says_that_it_waits_for_nodes()
    {
        await using var server = await TestServer.StartAsync();
        const string path = "_build/v1/info";

        var before = await server.Http.GetStringAsync(path, TestContext.Current.CancellationToken);
        using var nothing = await new WireNode(server.Http).ClaimAsync();
        var after = await server.Http.GetStringAsync(path, TestContext.Current.CancellationToken);

        Assert.Contains("builds nothing itself (--no-builds), and no build node has asked for work yet", before);
        Assert.DoesNotContain("--no-builds", after);
    }

    [Fact]
    public async Task What_a_node_elsewhere_can_build_may_be_asked_for()
    {
        await using var server = await BuildServer.StartAsync(remote: true);
        server.Status.Abilities = Kiln.Node.NodeAbilities.None("builds are switched off here");
        using (var refused = await server.PostAsync("?tag=1.0"))
        {
            Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        }

        Assert.Null(await server.Node.TryClaimAsync());
        await server.SubmitAsync("?tag=1.0&platform=linux/arm64");
        Assert.Equal("linux/arm64", (await server.Node.ClaimAsync()).Task.Platform.ToString());
    }

    [Fact]
    public async Task A_secret_that_comes_in_two_pieces_is_masked_over_a_restart()
    {
        await using var server = await BuildServer.StartAsync(remote: true);
        var secret = await server.SecretAsync("swordfish");
        var job = await server.SubmitAsync($"?tag=1.0&secret.s={secret}");
        var lease = await server.Node.ClaimAsync();
        await server.Node.LogAsync(lease, "it is sword");
        await server.RestartAsync();
        await server.Node.LogAsync(lease, "fish\n");
        await server.Node.SucceedAsync(lease);

        var log = await server.LogAsync(job.Id);
        Assert.Contains("it is ***\n", log);
        Assert.DoesNotContain("sword", log);
    }
}
