using System.Diagnostics;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Kiln.BuildSpec;
using Kiln.Client.Registry;
using Kiln.Node;
using Kiln.Node.Notifications;
using Kiln.Oci;
using Kiln.Tests.Builds;
using Kiln.Tests.Client;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kiln.Tests.Node.Notifications;

/// <summary>A registry that cannot build, and a node that hears its notifications; the test plays the engine.</summary>
internal sealed class WatchedRegistryServer : IAsyncDisposable
{
    public const string Name = "site";
    public const string Repository = "hpc/app";
    private readonly Func<NotificationOptions, NotificationOptions> _change;
    private readonly TimeProvider _time;
    private readonly NodeStatus _status = new();
    private CancellationTokenSource _stop = new();
    private NotificationWatch? _watch;
    private Task _running = Task.CompletedTask;

    private WatchedRegistryServer(
        TestRegistry registry,
        Func<NotificationOptions, NotificationOptions> change,
        TimeProvider time
    )
    {
        Registry = registry;
        _change = change;
        _time = time;
        Node = new TestNode(() => _watch!.Coordinator);
        _status.Abilities = new NodeAbilities
        {
            Engines = ["test 1.0"],
            Platforms = [Platform.LinuxAmd64, new Platform("linux", "arm64")],
            RecipeTypes = [RecipeTypes.Dockerfile],
            Networks = [NetworkModes.None],
        };
    }

    public TestRegistry Registry { get; }
    public TestNode Node { get; }
    public IBuildCoordinator Coordinator => _watch!.Coordinator;
    public HttpClient Http { get; } = new();
    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("kiln-watch-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static async Task<WatchedRegistryServer> StartAsync(
        Func<WatchedRegistry, WatchedRegistry>? registry = null,
        Func<NotificationOptions, NotificationOptions>? options = null,
        TimeProvider? time = null
    )
    {
        var server = new WatchedRegistryServer(
            await TestRegistry.StartAsync(),
            o =>
                (options?.Invoke(o) ?? o) with
                {
                    Registries = [.. o.Registries.Select(r => registry?.Invoke(r) ?? r)],
                },
            time ?? TimeProvider.System
        );
        server.Registry.AddBlob("{}"u8.ToArray());
        await server.StartAsync();
        return server;
    }

    public async Task StartAsync()
    {
        var node = new NodeOptions { Directory = Path.Combine(Directory, "node"), Name = "test" };
        var options = new NotificationOptions
        {
            Directory = Path.Combine(Directory, "notifications"),
            Listen = new IPEndPoint(IPAddress.Loopback, 0),
            Builder = "kiln-node:test",
            Registries =
            [
                new WatchedRegistry
                {
                    Name = Name,
                    Host = Registry.Host,
                    Aliases = ["docker.io", "registry.example.org"],
                    Repositories = ["hpc/**"],
                },
            ],
        };
        _watch = new NotificationWatch(_change(options), node, _status, _time, NullLoggerFactory.Instance);
        await _watch.StartAsync(Cancel);
        _running = _watch.RunAsync(_stop.Token);
    }

    /// <summary>As a node that died and was started again.</summary>
    public async Task RestartAsync()
    {
        await EndAsync();
        _stop = new CancellationTokenSource();
        await StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await EndAsync();
        await Registry.DisposeAsync();
        Http.Dispose();
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    /// <summary>Puts a recipe into the registry, as a client's push would.</summary>
    public Digest PushRecipe(
        string tag = "1.0.recipe",
        string text = "FROM scratch\nCOPY hello /hello\n",
        Dictionary<string, string>? annotations = null
    )
    {
        var recipe = Registry.AddBlob(System.Text.Encoding.UTF8.GetBytes(text), BuildMediaTypes.Dockerfile);
        return Push(
            tag,
            new ImageManifest
            {
                ArtifactType = BuildMediaTypes.Recipe,
                Config = EmptyConfig,
                Layers = [recipe],
                Annotations = annotations,
            }
        );
    }

    /// <summary>Puts something that is no recipe into the registry.</summary>
    public Digest PushImage(string tag) =>
        Push(
            tag,
            new ImageManifest
            {
                Config = EmptyConfig with { MediaType = MediaTypes.OciConfig },
                Layers = [Registry.AddBlob([1, 2, 3])],
            }
        );

    public async Task<(HttpStatusCode Code, string Text)> NotifyAsync(
        string body,
        string path = "/notifications/" + Name,
        string? authorization = null
    )
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"http://{_watch!.Address}{path}")
        {
            Content = new StringContent(body),
        };
        if (authorization is not null)
        {
            request.Headers.TryAddWithoutValidation("Authorization", authorization);
        }

        using var answer = await Http.SendAsync(request, Cancel);
        return (answer.StatusCode, await answer.Content.ReadAsStringAsync(Cancel));
    }

    /// <summary>Tells of a push, which has to be accepted.</summary>
    public async Task TellAsync(string tag, Digest digest, string id = "event-1")
    {
        var (code, text) = await NotifyAsync(Payloads.Distribution(Registry.Host, Repository, tag, digest, id));
        Assert.Equal(HttpStatusCode.Accepted, code);
        Assert.StartsWith("1 accepted", text, StringComparison.Ordinal);
    }

    public async Task<HttpResponseMessage> GetAsync(string path) =>
        await Http.GetAsync($"http://{_watch!.Address}{path}", Cancel);

    public async Task<JsonNode> StatusAsync() =>
        JsonNode.Parse(await Http.GetStringAsync($"http://{_watch!.Address}/status", Cancel))!;

    /// <summary>Waits until nothing waits to be looked at, and no build is on its way out.</summary>
    public async Task<JsonArray> SettledAsync(Action? meanwhile = null)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            var status = await StatusAsync();
            var builds = status["builds"]!.AsArray();
            if (status["waiting"]!.AsArray().Count == 0 && builds.All(b => b!["finished"] is not null))
            {
                return builds;
            }

            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), $"it does not settle: {status}");
            meanwhile?.Invoke();
            await Task.Delay(10, Cancel);
        }
    }

    /// <summary>Waits for a lease.</summary>
    public async Task<Lease> ClaimAsync() =>
        await Node.TryClaimAsync(wait: TimeSpan.FromSeconds(60)) ?? throw new InvalidOperationException("no work came");

    public Task<LeaseHeartbeatReply> HeartbeatAsync(Lease lease) =>
        _watch!.Coordinator.HeartbeatAsync(lease, new LeaseHeartbeat(), Cancel);

    /// <summary>A node of it, with another way to build.</summary>
    public BuildNode NodeOf(ILauncher launcher) =>
        new(
            launcher,
            new NodeOptions { Directory = Path.Combine(Directory, "node"), Name = "test" },
            _status,
            _time,
            NullLogger<BuildNode>.Instance
        );

    public Task GiveBackAsync(Lease lease) => _watch!.Coordinator.GiveBackAsync(lease, Cancel);

    /// <summary>What is attached to a manifest, by the tag that stands for the referrers API.</summary>
    public IReadOnlyList<Descriptor> ReferrersOf(Digest digest) =>
        Registry.Manifests.TryGetValue(RegistryClient.ReferrersTag(digest).Value, out var index)
            ? ManifestReader.Read(index.Bytes, index.Type, out _)!.Manifests
            : [];

    private async Task EndAsync()
    {
        await _stop.CancelAsync();
        await _running;
        await _watch!.DisposeAsync();
        _stop.Dispose();
    }

    private static Descriptor EmptyConfig =>
        new()
        {
            MediaType = MediaTypes.OciEmpty,
            Digest = Digest.EmptyJson,
            Size = 2,
        };

    private Digest Push(string tag, ImageManifest manifest) =>
        Registry.AddManifest(
            tag,
            MediaTypes.OciManifest,
            JsonSerializer.SerializeToUtf8Bytes(manifest, OciJson.Default.ImageManifest)
        );
}
