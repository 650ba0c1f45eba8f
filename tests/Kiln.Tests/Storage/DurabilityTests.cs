using System.Net;
using Kiln.Oci;
using Kiln.Server;
using Kiln.Server.Metadata;
using Kiln.Tests.Checking;
using Kiln.Tests.Registry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Kiln.Tests.Storage;

/// <summary>What an acknowledged write waits for (docs/guide/storage.md).</summary>
public sealed class DurabilityTests
{
    private const string WentDown = "The machine went down";

    [Theory]
    [InlineData(Durability.Full, "2", "on")]
    [InlineData(Durability.Relaxed, "1", "off")]
    public async Task Commits_wait_for_the_disk_unless_the_operator_said_otherwise(
        Durability durability,
        string sqlite,
        string postgres
    )
    {
        await using var server = await TestServer.StartAsync(o => o with { Durability = durability });
        var (question, answer) = TestState.IsPostgres
            ? ("SHOW synchronous_commit", postgres)
            : ("PRAGMA synchronous", sqlite);

        var said = server.Services.GetRequiredService<Database>().Read(c => c.Scalar<string>(question));

        Assert.Equal(answer, said);
    }

    [Fact]
    public async Task A_relaxed_server_that_was_stopped_has_everything_and_complains_of_nothing()
    {
        TestState.RequireOneServer("it looks into the data directory");
        using var log = new ServerLog(LogLevel.Warning);
        await using var server = await StartAsync(log);
        var mark = Path.Combine(server.DataDirectory, "relaxed");
        var layer = Samples.Bytes(1000);
        await server.Http.PushBlobAsync("a/b", layer);
        var image = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar));
        await server.Http.PushAsync("a/b", image, "1");
        Assert.True(File.Exists(mark));

        await server.RestartAsync(meanwhile: () => Assert.False(File.Exists(mark)));

        Assert.Equal(image.Encode(), await server.Http.GetByteArrayAsync("a/b/manifests/1"));
        Assert.Equal(HttpStatusCode.OK, await server.Http.StatusAsync("GET", $"a/b/blobs/{Digest.Of(layer)}"));
        Assert.DoesNotContain(log.Lines, line => line.Contains(WentDown, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Going_down_with_the_machine_is_told_and_going_down_alone_is_not()
    {
        TestState.RequireOneServer("it looks into the data directory");
        using var log = new ServerLog(LogLevel.Warning);
        await using var server = await StartAsync(log);
        var mark = Path.Combine(server.DataDirectory, "relaxed");
        var boot = await File.ReadAllTextAsync(mark, TestContext.Current.CancellationToken);

        // As a server leaves it that was killed.
        await server.RestartAsync(meanwhile: () => File.WriteAllText(mark, boot));
        Assert.DoesNotContain(log.Lines, line => line.Contains(WentDown, StringComparison.Ordinal));

        await server.RestartAsync(meanwhile: () => File.WriteAllText(mark, "another boot"));
        Assert.Equal(1, Told(log));
        // It is told until all was read, and not only sizes.
        await server.RestartAsync(async options =>
        {
            await Kept.CheckAsync(options, quick: true);
            return options;
        });
        Assert.Equal(2, Told(log));
        await server.RestartAsync(async options =>
        {
            await Kept.CheckAsync(options);
            return options;
        });
        Assert.Equal(2, Told(log));
    }

    private static int Told(ServerLog log) =>
        log.Lines.Count(line => line.Contains(WentDown, StringComparison.Ordinal));

    private static Task<TestServer> StartAsync(ServerLog log) =>
        TestServer.StartAsync(
            o => o with { Durability = Durability.Relaxed },
            services => services.AddSingleton<ILoggerProvider>(log)
        );
}
