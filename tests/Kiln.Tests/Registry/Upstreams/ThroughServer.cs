using Kiln.Oci;
using Kiln.Server;
using Kiln.TestPrograms;
using Kiln.Tests.Collection;
using Microsoft.Extensions.DependencyInjection;

namespace Kiln.Tests.Registry.Upstreams;

/// <summary>A Kiln through which one other registry can be pulled, as <c>hub/…</c>, with a clock that tests move.</summary>
internal sealed class ThroughServer : IAsyncDisposable
{
    /// <summary>What recipes would call the upstream.</summary>
    public const string UpstreamHost = "hub.example.org";

    private readonly TestServer _server;

    private ThroughServer(TestServer server, ShiftedTime time) => (_server, Time) = (server, time);

    public ShiftedTime Time { get; }
    public TestServer Server => _server;
    public HttpClient Http => _server.Http;

    public static async Task<ThroughServer> StartAsync(
        string url,
        Func<UpstreamOptions, UpstreamOptions>? change = null,
        Func<ServerOptions, ServerOptions>? server = null
    )
    {
        var time = new ShiftedTime();
        var upstream = new UpstreamOptions
        {
            Host = UpstreamHost,
            Prefix = "hub",
            Urls = [new Uri(url)],
        };
        return new ThroughServer(
            await TestServer.StartAsync(
                options => (server ?? (o => o))(options with { Upstreams = [(change ?? (u => u))(upstream)] }),
                services => services.AddSingleton<TimeProvider>(time)
            ),
            time
        );
    }

    /// <summary>A docker-registry, or the test is skipped where there is none.</summary>
    public static DockerRegistry RequireRegistry(string? htpasswd = null)
    {
        Assert.SkipUnless(
            DockerRegistry.IsHere,
            "NOT RUN: this machine has no docker-registry (Debian: docker-registry)"
        );
        return new DockerRegistry(htpasswd);
    }

    /// <summary>A client of a registry, with paths below <c>/v2/</c>.</summary>
    public static HttpClient ClientOf(string host) => new() { BaseAddress = new Uri($"http://{host}/v2/") };

    /// <summary>Pushes an image of one layer to a registry.</summary>
    public static async Task<(byte[] Manifest, byte[] Layer, Digest Blob)> PushAsync(
        HttpClient there,
        string name,
        string tag,
        int bytes = 100_000
    )
    {
        var layer = Samples.Bytes(bytes);
        var blob = await there.PushBlobAsync(name, layer);
        var manifest = Samples.Image(Samples.Descriptor(layer, MediaTypes.OciLayerTar));
        await there.PushAsync(name, manifest, tag);
        return (manifest.Encode(), layer, blob);
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();
}
