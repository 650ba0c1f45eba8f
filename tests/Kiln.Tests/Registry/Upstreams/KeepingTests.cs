using System.Net;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Delivery;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Kiln.TestPrograms;
using Kiln.Tests.Collection;
using Kiln.Tests.Delivery;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Registry.Upstreams;

/// <summary>How long what was pulled through stays.</summary>
public sealed class KeepingTests : IDisposable
{
    private readonly DockerRegistry _registry = ThroughServer.RequireRegistry();
    private readonly HttpClient _there;

    public KeepingTests() => _there = ThroughServer.ClientOf(_registry.Host);

    public void Dispose()
    {
        _there.Dispose();
        _registry.Dispose();
    }

    private Task<ThroughServer> StartAsync(Func<UpstreamOptions, UpstreamOptions>? change = null) =>
        ThroughServer.StartAsync($"http://{_registry.Host}", change);

    private Task<(byte[] Manifest, byte[] Layer, Digest Blob)> PushAsync(
        string name,
        string tag,
        int bytes = 100_000
    ) => ThroughServer.PushAsync(_there, name, tag, bytes);

    [Fact]
    public async Task A_copy_whose_blobs_nobody_wanted_yet_is_nothing_that_fsck_tells_of()
    {
        TestState.RequireOneServer("the check is of stopped servers");
        TestState.RequireFiles();
        await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
        await server.Server.RestartAsync(async options =>
        {
            Assert.Empty((await Checking.Kept.CheckAsync(options)).Findings);
            var (fresh, made) = await Checking.Kept.LoseAndRebuildAsync(options);
            Assert.Empty(made.Lost);
            var upstream = new UpstreamOptions { Host = ThroughServer.UpstreamHost, Prefix = "hub" };
            Assert.Empty((await Checking.Kept.CheckAsync(fresh with { Upstreams = [upstream] })).Findings);
            return fresh;
        });
    }

    [Fact]
    public async Task A_use_that_could_not_be_noted_is_noted_the_next_time()
    {
        var (manifest, _, _) = await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        const string path = "hub/library/app/manifests/1";
        await server.Http.GetByteArrayAsync(path);
        server.Time.Advance(TimeSpan.FromHours(2));
        var database = server.Server.Services.GetRequiredService<Database>();
        await RunAsync(
            $"""
            INSERT INTO condemned_manifests (repository, digest, since, asked)
            SELECT repository, digest, 0, 0 FROM manifests WHERE digest = '{Digest.Of(manifest)}'
            """
        );

        await RunAsync("ALTER TABLE condemned_manifests RENAME TO condemned_manifests_away");
        Assert.Equal(HttpStatusCode.InternalServerError, await server.Http.StatusAsync("HEAD", path));
        await RunAsync("ALTER TABLE condemned_manifests_away RENAME TO condemned_manifests");
        Assert.Equal(1, Condemned());
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("HEAD", path));
        Assert.Equal(0, Condemned());

        Task RunAsync(string sql) => database.WriteAsync(transaction => transaction.Run(sql), CancellationToken.None);

        long Condemned() => database.Read(c => c.Scalar<long>("SELECT COUNT(*) FROM condemned_manifests"));
    }

    [Fact]
    public async Task Nobody_is_told_that_a_copy_comes_or_goes()
    {
        await using var receiver = await Receiver.StartAsync();
        var secret = Path.GetTempFileName();
        await File.WriteAllTextAsync(secret, Signature.NewSecret() + "\n");
        var hook = new WebhookOptions
        {
            Name = "ci",
            Url = receiver.Url,
            SecretFile = secret,
        };
        var (manifest, _, _) = await PushAsync("library/app", "1");
        await using var server = await ThroughServer.StartAsync(
            $"http://{_registry.Host}",
            server: o => o with { Events = new EventOptions { Webhooks = [hook] } }
        );
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
        await server.Http.StatusAsync("DELETE", "hub/library/app/manifests/1");
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
        await server.Http.StatusAsync("DELETE", $"hub/library/app/manifests/{Digest.Of(manifest)}");

        await server.Http.PushAsync("own/app", Samples.Image(), "1");
        Assert.Equal("own/app", (string)(await receiver.NextAsync()).Event["data"]!["repository"]!);
        File.Delete(secret);
    }

    [Fact]
    public async Task A_copy_without_a_tag_stays_as_long_as_somebody_wants_it()
    {
        var (manifest, _, _) = await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        var path = $"hub/library/app/manifests/{Digest.Of(manifest)}";
        for (var i = 0; i < 6; i++)
        {
            await server.Http.GetByteArrayAsync(path);
            await CollectedServer.CollectAsync(server.Http);
            server.Time.Advance(TimeSpan.FromDays(10));
        }

        Assert.Equal(1, _registry.Requests($"GET /v2/library/app/manifests/{Digest.Of(manifest)}"));
        for (var i = 0; i < 3; i++)
        {
            await CollectedServer.CollectAsync(server.Http);
            server.Time.Advance(CollectedServer.Long);
        }

        Assert.Equal(manifest, await server.Http.GetByteArrayAsync(path));
        Assert.Equal(2, _registry.Requests($"GET /v2/library/app/manifests/{Digest.Of(manifest)}"));
    }

    [Fact]
    public async Task A_tag_that_is_immutable_here_is_asked_for_once()
    {
        var (manifest, _, _) = await PushAsync("library/app", "1");
        var rule = new ImmutabilityRule { Repositories = ["hub/**"], Tags = ["1*"] };
        await using var server = await ThroughServer.StartAsync(
            $"http://{_registry.Host}",
            server: o => o with { Immutability = new ImmutabilityOptions { Rules = [rule] } }
        );
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
        await PushAsync("library/app", "1");

        server.Time.Advance(TimeSpan.FromDays(1));

        Assert.Equal(manifest, await server.Http.GetByteArrayAsync("hub/library/app/manifests/1"));
    }

    [Fact]
    public async Task What_was_cached_can_be_deleted_and_comes_again()
    {
        var (manifest, layer, blob) = await PushAsync("library/app", "1");
        await using var server = await StartAsync();
        await server.Http.GetByteArrayAsync("hub/library/app/manifests/1");
        await server.Http.GetByteArrayAsync($"hub/library/app/blobs/{blob}");

        foreach (var path in new[] { $"manifests/{Digest.Of(manifest)}", $"blobs/{blob}" })
        {
            Assert.Equal(HttpStatusCode.Accepted, await server.Http.StatusAsync("DELETE", $"hub/library/app/{path}"));
        }

        Assert.Equal(manifest, await server.Http.GetByteArrayAsync("hub/library/app/manifests/1"));
        Assert.Equal(layer, await server.Http.GetByteArrayAsync($"hub/library/app/blobs/{blob}"));
    }
}
